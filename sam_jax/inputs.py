"""A data set's images on the device, and what the circuit sees of them.

Shapes: N examples in a split, B in a batch, P pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SPLITS = ("train", "val", "test")
PIXELS = ("standardised", "symmetric")


class Split(NamedTuple):
    """A split on the device: `images` uint8 [N, P]; `labels` int [N], or 0/1 [N, K].

    >>> import sam_jax as sj
    >>> data = sj.inputs.place(sj.load("digits"))
    >>> data.splits["test"].images.shape, data.splits["test"].images.dtype.name
    ((359, 64), 'uint8')
    """

    images: jax.Array
    labels: jax.Array


class Data(NamedTuple):
    """The splits by name, and what is taken from their pixels [1, P] and what they are then divided by [].

    >>> import sam_jax as sj
    >>> data = sj.inputs.place(sj.load("digits"))
    >>> sorted(data.splits), data.mean.shape, data.std.shape
    (['test', 'train', 'val'], (1, 64), ())
    """

    splits: dict[str, Split]
    mean: jax.Array
    std: jax.Array


def place(dataset, pixels: str = "standardised") -> Data:
    """A `datasets.Dataset` on the default device, pixels in a row; a split without images is left out.

    `standardised` takes the training split's mean image from them, and divides by one standard deviation of
    what remains, both in pixel units (0-255): a mean for each pixel and one scale leave no pixel that never
    varies to divide by. `symmetric` takes 0..255 to -1..1, whatever the images are.

    Raises:
      ValueError: `pixels` is none of PIXELS, or the labels are no classes and no rows of 0 and 1.

    >>> import sam_jax as sj
    >>> data = sj.inputs.place(sj.load("digits"), pixels="symmetric")
    >>> float(data.std), float(data.mean.min()), float(data.mean.max())
    (127.5, 127.5, 127.5)
    """
    if pixels not in PIXELS:
        raise ValueError(f"pixels is {pixels!r}, expected one of {', '.join(PIXELS)}")
    for name in SPLITS:
        kind = np.asarray(getattr(dataset, name).labels).dtype
        if kind.kind not in "biu":
            raise ValueError(
                f"{name} labels are {kind}, expected classes or rows of 0 and 1: there is no regression here"
            )
    splits = {
        name: Split(images.reshape(len(images), -1), labels)
        for name, (images, labels) in ((name, getattr(dataset, name)) for name in SPLITS)
        if len(images)
    }
    if pixels == "symmetric":
        middle = jnp.full((1, splits["train"].images.shape[1]), 127.5)
        return jax.device_put(Data(splits, middle, jnp.asarray(127.5)))
    images = splits["train"].images
    mean = images.mean(axis=0, dtype=np.float64, keepdims=True)
    squares = sum(np.square(chunk, dtype=np.float64).sum() for chunk in np.array_split(images, 100))
    std = np.sqrt(max(squares / images.size - np.mean(mean**2), 1e-12))
    return jax.device_put(Data(splits, jnp.asarray(mean, float), jnp.asarray(std, float)))


def standardise(data: Data, images: jax.Array) -> jax.Array:
    """uint8 [B, P] -> what the circuit sees, [B, P]: over the training images of mean 0 and variance 1, or -1..1.

    >>> import sam_jax as sj
    >>> data = sj.inputs.place(sj.load("digits"))
    >>> x = sj.inputs.standardise(data, data.splits["train"].images)
    >>> print(f"{abs(x.mean()):.3f} {x.std():.3f}")
    0.000 1.000
    """
    return (images - data.mean) / data.std
