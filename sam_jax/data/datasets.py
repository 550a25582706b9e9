"""Data sets: lookup, checks, the validation split, the cache.

`load(NAME, data_dir)` looks, in this order, for

1. `NAME.npz` in the data folder, with the arrays of `sam_jax.data.formats`;
2. the publisher's archives, put there by hand under their own names (in the data folder, or in its
   subfolder `NAME/`, because MNIST's and Fashion-MNIST's files are called the same); their idx files
   may be unzipped;
3. the publisher's archives on the net, fetched by `sam_jax.data.downloads`.

What 2 or 3 yields is kept as `NAME.npz`. `load("PATH.npz")` reads one's own images. The data folder
is the argument, else $SAM_JAX_DATA_DIR, else $XDG_CACHE_HOME/sam_jax, else ~/.cache/sam_jax.

Training sees `train` only; settings are chosen on `val`; `test` is for the report.
"""

import contextlib
import difflib
import functools
import hashlib
import math
import os
import pathlib
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sam_jax.data import downloads, formats
from sam_jax.data.catalogue import REGISTRY, VALIDATION_EVERY, Archive, Spec, Task, held_out
from sam_jax.inputs import SPLITS

__all__ = ["REGISTRY", "Archive", "Dataset", "Spec", "Split", "check", "data_folder", "load"]

# In one's own images a higher label is a mistake (a fill value, an index into something else).
MAX_CLASSES = 2**16


class Split(NamedTuple):
    """images uint8 [N, H, W, C]; labels int32 [N] in 0..classes-1, or uint8 0/1 [N, classes].

    >>> import sam_jax as sj
    >>> images, labels = sj.load("digits").test
    >>> images.shape, labels.shape, int(labels.max())
    ((359, 8, 8, 1), (359,), 9)
    """

    images: np.ndarray
    labels: np.ndarray


class Dataset(NamedTuple):
    """A data set in memory. `source` says where it was found: a file, URLs, or scikit-learn.

    >>> import sam_jax as sj
    >>> digits = sj.load("digits")
    >>> digits.name, digits.task, digits.classes, digits.source, digits.shape, digits.pixels
    ('digits', 'single-label', 10, 'scikit-learn', (8, 8, 1), 64)
    """

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
        """H W C, the number of a circuit's inputs."""
        return math.prod(self.shape)

    def checksums(self) -> dict[str, str]:
        """SHA-256 of the bytes of each of the six arrays: train_images, train_labels, val_… ."""
        return {
            f"{split}_{key}": hashlib.sha256(_bytes(array)).hexdigest()
            for split in SPLITS
            for key, array in getattr(self, split)._asdict().items()
        }


def data_folder(data_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """The folder where data sets are looked for and kept; it need not exist.

    It is `data_dir`, else $SAM_JAX_DATA_DIR, else $XDG_CACHE_HOME/sam_jax, else ~/.cache/sam_jax.

    >>> from sam_jax.data import datasets
    >>> datasets.data_folder("images").name
    'images'
    """
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    chosen = data_dir or os.environ.get("SAM_JAX_DATA_DIR") or os.path.join(cache, "sam_jax")
    return _path(chosen)


def check(name: str | os.PathLike, data_dir: str | os.PathLike | None = None) -> None:
    """Raises at once what `load` would raise for an unknown name or a missing PATH.npz.

    Reads no array and asks no network: for scripts, before anything is compiled.

    Raises:
      FileNotFoundError: there is no file of this path.
      ValueError: there is no data set of this name, or `data_dir` is a file.

    >>> from sam_jax.data import datasets
    >>> datasets.check("digits")
    >>> datasets.check("digit")
    Traceback (most recent call last):
    ValueError: unknown data set 'digit'; nearest: digits; known: mnist, fashion_mnist, cifar10, ...
    """
    folder = data_folder(data_dir)
    if folder.exists() and not folder.is_dir():
        raise formats.fault(folder, "a data folder", "a file", "name a folder, or none")
    if _is_path(name):
        if not _path(name).is_file():
            raise FileNotFoundError(f"{name}: expected an npz file, found none; check the path")
    elif name not in REGISTRY:
        near = difflib.get_close_matches(str(name), REGISTRY, n=1, cutoff=0.0)[0]
        known = ", ".join(REGISTRY)
        raise ValueError(f"unknown data set {str(name)!r}; nearest: {near}; known: {known}; or a PATH.npz")


def load(name: str | os.PathLike, data_dir: str | os.PathLike | None = None) -> Dataset:
    """The data set of this name, or one's own images in the file of this name (*.npz).

    A registered set without a validation split of its own gives up a tenth of its training images,
    and so does a file without val_ arrays; the choice depends on the labels only (`held_out`).
    In a file, the number of classes is the highest label plus one, or the length of its 0/1 rows.

    Args:
      name: one of REGISTRY, or a path that ends in .npz.
      data_dir: the folder of `data_folder`.

    Raises:
      ValueError: an unknown name, a wrong checksum, a damaged or unfit file.
      FileNotFoundError: there is no such file.
      ConnectionError: a data set is to be downloaded, and there is no network.
      ImportError: a data set is to be downloaded, and TFDS is not installed.

    >>> import sam_jax as sj
    >>> digits = sj.load("digits")
    >>> digits.train.images.shape, len(digits.val.images), len(digits.test.images)
    ((1295, 8, 8, 1), 143, 359)
    """
    check(name, data_dir)
    if _is_path(name):
        path = _path(name)
        own = path.name if path.stem in REGISTRY else path.stem  # never takes a public set's name
        return _own(own, path, formats.npz([path]))
    return _registered(REGISTRY[str(name)], data_folder(data_dir))


def _bytes(array: np.ndarray) -> Any:
    """An array's bytes, none of an empty one, without a copy where it lies in one piece."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _path(name: str | os.PathLike) -> pathlib.Path:
    """With ~ for the home folder; pathlib's own ends in a RuntimeError for a user that there is none of."""
    return pathlib.Path(os.path.expanduser(name))


def _is_path(name: str | os.PathLike) -> bool:
    return isinstance(name, os.PathLike) or name.endswith(".npz")


def _registered(spec: Spec, folder: pathlib.Path) -> Dataset:
    """Steps 1 to 3 of the lookup."""
    assemble = functools.partial(_assemble, spec.name, spec.task, spec.classes)
    read = functools.partial(_parsed, spec)
    if not spec.archives:
        return assemble("scikit-learn", read([]))
    cache = folder / f"{spec.name}.npz"
    if cache.exists():
        remedy = f"move it away to have the publisher's, or run it as your own: --dataset={cache}"
        return assemble(str(cache), _fitting(spec, cache, formats.npz([cache]), remedy))
    present = _placed_by_hand(spec, folder)
    if len(present) == len(spec.archives):
        paths = [present[archive.file_name] for archive in spec.archives]
        source, arrays = ", ".join(map(str, paths)), read(paths)
    else:
        arrays = downloads.download(spec, present, folder, read)
        source = ", ".join(archive.url for archive in spec.archives)
    _keep(cache, arrays)
    return assemble(source, arrays)


def _parsed(spec: Spec, paths: Sequence[pathlib.Path]) -> formats.Arrays:
    where = ", ".join(map(str, paths)) or spec.title
    return _fitting(spec, where, spec.parse(paths))


def _placed_by_hand(spec: Spec, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The archives that lie in the data folder, zipped or not, verified, by the publisher's file name."""
    present = {}
    for archive in spec.archives:
        for path in (place / name for name in archive.names() for place in (folder / spec.name, folder)):
            if path.is_file() and not _is_namesake(path, archive):
                downloads.verify(path, archive)
                present[archive.file_name] = path
                break
    return present


def _is_namesake(path: pathlib.Path, archive: Archive) -> bool:
    """Whether it is another data set's archive of the same name (MNIST and Fashion-MNIST)."""
    others = (other for spec in REGISTRY.values() for other in spec.archives)
    namesakes = [other for other in others if other.file_name == archive.file_name and other != archive]
    sums = {total for other in namesakes for total in (other.sha256, other.unzipped)}
    return bool(sums) and downloads.digest(path) in sums


def _fitting(spec: Spec, where: object, arrays: formats.Arrays, remedy: str = formats.FETCH_AGAIN) -> formats.Arrays:
    """The arrays, if they have the sizes, shape and labels that the registry states."""
    sizes = {"train": spec.train_size, "val": spec.val_size, "test": spec.test_size}
    expected = {split: (size, *spec.shape) for split, size in sizes.items() if size is not None}
    found = {split: arrays[f"{split}_images"].shape for split in SPLITS if f"{split}_images" in arrays}
    if found != expected:
        raise formats.fault(where, f"{spec.title}'s images {expected}", str(found), remedy)
    row = () if spec.task == "single-label" else (spec.classes,)
    for split in expected:
        labels = arrays[f"{split}_labels"]
        count = (len(arrays[f"{split}_images"]), *row)
        if labels.shape != count:
            raise formats.fault(f"{where}: {split}_labels", f"shape {count}", labels.shape, remedy)
        _in_range(f"{where}: {split}_labels", labels, 2 if row else spec.classes, remedy)
    return arrays


def _in_range(where: object, labels: np.ndarray, classes: int, remedy: str) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise formats.fault(where, f"labels 0..{classes - 1}", f"{low}..{high}", remedy)


def _own(name: str, path: pathlib.Path, arrays: formats.Arrays) -> Dataset:
    """One's own images: splits must agree with each other; classes are counted."""
    rows: dict[str, tuple] = {}
    for key, array in arrays.items():
        kind = key.partition("_")[2]
        first = rows.setdefault(kind, (key, array.shape[1:]))
        if array.shape[1:] != first[1]:
            expected = f"the shape of {first[0]}, [N, {', '.join(map(str, first[1]))}]"
            raise formats.fault(f"{path}: {key}", expected, array.shape, formats.REPAIR)
    if "val_images" not in arrays and len(arrays["train_images"]) < 2:
        raise formats.fault(f"{path}: train_images", "2 or more images", 1, formats.REPAIR)
    labels = {key: array for key, array in arrays.items() if key.endswith("labels")}
    if arrays["train_labels"].ndim == 2:
        if arrays["train_labels"].shape[1] > 1 and all((rows.sum(axis=1) == 1).all() for rows in labels.values()):
            expected, found = (
                "rows of 0 and 1 for images with several labels",
                "one 1 in every row, as of one-hot classes",
            )
            raise formats.fault(f"{path}: labels", expected, found, "give the classes instead: rows.argmax(axis=1)")
        return _assemble(name, "multi-label", arrays["train_labels"].shape[1], str(path), arrays)
    for key, array in labels.items():
        _in_range(f"{path}: {key}", array, MAX_CLASSES, "number the classes 0, 1, 2 …")
    lowest = min(int(array.min()) for array in labels.values())
    classes = 1 + max(int(array.max()) for array in labels.values())
    if lowest > 0:
        found, remedy = f"{lowest}..{classes - 1}", f"number them from 0: labels - {lowest}"
        raise formats.fault(f"{path}: labels", "labels that begin at 0", found, remedy)
    if classes < 2:
        raise formats.fault(path, "two or more classes", "label 0 only", formats.REPAIR)
    return _assemble(name, "single-label", classes, str(path), arrays)


def _assemble(name: str, task: Task, classes: int, source: str, arrays: formats.Arrays) -> Dataset:
    """Splits from checked arrays; the validation split is cut where there is none."""
    dtype = np.int32 if task == "single-label" else np.uint8
    splits = {
        split: Split(arrays[f"{split}_images"], arrays[f"{split}_labels"].astype(dtype))
        for split in SPLITS
        if f"{split}_images" in arrays
    }
    if "val" not in splits:
        train = splits["train"]
        keep = np.ones(len(train.labels), bool)
        keep[held_out(train.labels, VALIDATION_EVERY)] = False
        splits["val"] = Split(train.images[~keep], train.labels[~keep])
        splits["train"] = Split(train.images[keep], train.labels[keep])
    return Dataset(name, task, classes, source, **splits)


def _keep(path: pathlib.Path, arrays: formats.Arrays) -> None:
    """Writes the cache in one step: whoever looks sees no file or a whole one.

    Uncompressed, so that reading it is reading memory. A folder that cannot be written to, or a
    full disk, only means that the archives are parsed again next time.
    """
    partial = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.npz")
    try:
        with contextlib.suppress(OSError):
            np.savez(partial, **arrays)  # type: ignore[arg-type]  # numpy types its own keywords alone
            if not path.exists():  # never over a file of the user's
                os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
