"""A data set's images on the device, and what the circuit sees of them.

Shapes: N examples in a split, B in a batch, P pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SPLITS = ("train", "val", "test")


class Split(NamedTuple):
    """A split on the device: `images` uint8 [N, P]; `labels` int [N], or 0/1 [N, K]."""

    images: jax.Array
    labels: jax.Array


class Data(NamedTuple):
    """The splits by name, and the training split's mean image [1, P] and pixel standard deviation []."""

    splits: dict[str, Split]
    mean: jax.Array
    std: jax.Array


def place(dataset) -> Data:
    """A `datasets.Dataset` on the default device, pixels in a row, with the training split's statistics.

    The statistics are the mean image and one standard deviation of what remains, both in pixel
    units (0-255): a mean for each pixel and one scale leave no pixel that never varies to divide by.
    """
    splits = {
        name: Split(images.reshape(len(images), -1), labels)
        for name, (images, labels) in ((name, getattr(dataset, name)) for name in SPLITS)
    }
    images = splits["train"].images
    mean = images.mean(axis=0, dtype=np.float64, keepdims=True)
    squares = sum(np.square(chunk, dtype=np.float64).sum() for chunk in np.array_split(images, 100))
    std = np.sqrt(max(squares / images.size - np.mean(mean**2), 1e-12))
    return jax.device_put(Data(splits, jnp.asarray(mean, float), jnp.asarray(std, float)))


def standardise(data: Data, images: jax.Array) -> jax.Array:
    """uint8 [B, P] -> zero mean for each pixel and unit variance over all, [B, P]."""
    return (images - data.mean) / data.std
