"""Data sets: what is known of each, where it is found, its splits.

`load(NAME, data_dir)` looks, in this order, for

1. `NAME.npz` in the data folder, with the arrays of `sam_jax.formats`;
2. the publisher's archives, put there by hand under their own names (in the data folder, or in its
   subfolder `NAME/`, since MNIST's and Fashion-MNIST's files are called the same);
3. the publisher's archives on the net, fetched by `sam_jax.downloads`.

What 2 or 3 yields is kept as `NAME.npz`. `load("PATH.npz")` reads one's own images. The data folder
is the argument, else $SAM_JAX_DATA_DIR, else $XDG_CACHE_HOME/sam_jax, else ~/.cache/sam_jax.

Training only ever sees `train`; choices are made on `val`, and `test` is for the report.
"""

import dataclasses
import difflib
import functools
import hashlib
import math
import os
import pathlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from sam_jax import downloads, formats
from sam_jax.downloads import Archive

Task = Literal["single-label", "multi-label"]

# Fixed for good: the same images are held out on every machine and in every release.
SPLIT_SEED = 0


class Split(NamedTuple):
    """images uint8 [N, H, W, C]; labels int32 [N] in 0..classes-1, or uint8 0/1 [N, classes]."""

    images: np.ndarray
    labels: np.ndarray


class Dataset(NamedTuple):
    """A data set in memory. `source` says where it was found: a file, URLs, or scikit-learn."""

    name: str
    task: Task
    classes: int
    source: str
    train: Split
    val: Split
    test: Split

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of an image."""
        return self.train.images.shape[1:]

    @property
    def pixels(self) -> int:
        """H W C, the number of inputs of a circuit."""
        return math.prod(self.shape)

    def checksums(self) -> dict[str, str]:
        """SHA-256 of the six arrays' bytes (C order): train_images, train_labels, val_images …"""
        return {
            f"{split}_{key}": hashlib.sha256(np.ascontiguousarray(array).data.cast("B")).hexdigest()
            for split in downloads.SPLITS
            for key, array in getattr(self, split)._asdict().items()
        }


@dataclasses.dataclass(frozen=True)
class Spec:
    """What is known of a public data set.

    train_size counts the publisher's training images; where val_size is None a tenth of them
    becomes the validation split. parse: the archives' paths, in their order, -> arrays.
    """

    name: str
    title: str
    archives: tuple[Archive, ...]
    train_size: int
    val_size: int | None
    test_size: int
    shape: tuple[int, int, int]
    classes: int
    task: Task
    licence: str
    citation: str
    parse: Callable[[Sequence[pathlib.Path]], formats.Arrays]


def held_out(labels: np.ndarray, every: int) -> np.ndarray:
    """Rows (sorted) of one example in `every`, in each class its share to within one example.

    The examples are shuffled, put in order of their class, and every `every`-th is taken: exact
    in total, and a class with a single example is no special case. Multi-label rows [N, K] have no
    one class: they are drawn from all alike. RandomState, because NumPy promises never to change
    its stream.
    """
    order = np.random.RandomState(SPLIT_SEED).permutation(len(labels))
    if labels.ndim == 1:
        order = order[np.argsort(labels[order], kind="stable")]
    return np.sort(order[every - 1 :: every] if len(order) >= every else order[-1:])


def _digits(paths: Sequence[pathlib.Path]) -> formats.Arrays:
    """scikit-learn's digits: 0..16 -> round(v 255/16), one to one; a fifth is the test split."""
    import sklearn.datasets  # slow to import, and only this data set needs it

    del paths  # they lie in scikit-learn's package
    digits = sklearn.datasets.load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    test = held_out(digits.target, every=5)
    return {
        "train_images": np.delete(images, test, axis=0),
        "train_labels": np.delete(digits.target, test),
        "test_images": images[test],
        "test_labels": digits.target[test],
    }


def _mnist_like(url: str, facts: Mapping[str, tuple[int, str]]) -> tuple[Archive, ...]:
    return tuple(Archive(url + name, name, size, sha256) for name, (size, sha256) in facts.items())


_MNIST = functools.partial(
    Spec, train_size=60_000, val_size=None, test_size=10_000, shape=(28, 28, 1), classes=10
)
_MEDMNIST = functools.partial(
    Spec,
    licence="CC BY 4.0",
    citation="Yang et al. 2023, MedMNIST v2, Scientific Data 10:41",
    parse=formats.npz,
)
_ZENODO = "https://zenodo.org/records/10519652/files/"

# Sizes and SHA-256 sums are those that tensorflow-datasets 4.9.10 ships; the MD5 sums of MedMNIST
# are its own (medmnist/info.py).
_SPECS = (
    _MNIST(
        name="mnist",
        title="MNIST",
        archives=_mnist_like(
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            {
                "train-images-idx3-ubyte.gz": (
                    9_912_422,
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                ),
                "train-labels-idx1-ubyte.gz": (
                    28_881,
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                ),
                "t10k-images-idx3-ubyte.gz": (
                    1_648_877,
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                ),
                "t10k-labels-idx1-ubyte.gz": (
                    4_542,
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
            },
        ),
        task="single-label",
        licence="none stated",
        citation="LeCun, Bottou, Bengio and Haffner 1998",
        parse=formats.idx_gz,
    ),
)
