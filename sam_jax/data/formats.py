"""Image files in their publishers' formats, read into arrays.

Every reader takes the files of one data set, in the order in which `datasets.REGISTRY` lists its
archives, and returns one dictionary, the project's own npz layout:

    train_images, test_images   uint8 [N, H, W, C]
    train_labels, test_labels   integers [N], or 0/1 rows [N, K] for multi-label data
    val_images, val_labels      the same, only where the publisher cut a validation split

Nothing is unpacked to disk and nothing is unpickled. A file that is damaged, or not of its format,
or that unpacks to far more than it should, raises ValueError with one line: the file, what was
expected, what was found, what to do.
"""

import contextlib
import errno
import gzip
import math
import os
import pathlib
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Paths = Sequence[str | os.PathLike]

REQUIRED = ("train_images", "train_labels", "test_images", "test_labels")
OPTIONAL = ("val_images", "val_labels")
KERAS = dict(zip(REQUIRED, ("x_train", "y_train", "x_test", "y_test"), strict=True))  # as its mnist.npz says

# A small file may unpack to this many bytes, a large one to 100 times its own size: more is a bomb.
SMALL, RATIO = 64 * 2**20, 100

# MATLAB 5's types of elements; the numbers', as NumPy names them.
MI_MATRIX, MI_COMPRESSED = 14, 15
MI_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}

FETCH_AGAIN = "fetch the file again"
REPAIR = "write the array again (layout: see sam_jax/data/formats.py)"


class BadFile(ValueError):
    """What is wrong with a file, in one line."""


def fault(where: object, expected: object, found: object, remedy: str) -> BadFile:
    """The one line that every bad file gets."""
    return BadFile(" ".join(f"{where}: expected {expected}, found {found}; {remedy}".split()))


@contextlib.contextmanager
def _reading(path: str | os.PathLike, kind: str) -> Iterator[None]:
    """Turns whatever a damaged file ends in, deep inside other people's readers, into the one line.

    What the operating system refuses, as a folder or a missing file, stays what it is; but a seek to
    nowhere is the file's fault.
    """
    try:
        yield
    except BadFile:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        found = f"a damaged or truncated file ({str(error) or type(error).__name__})"
        raise fault(path, kind, found, FETCH_AGAIN) from error


def _most(path: str | os.PathLike) -> int:
    """The bytes that a file may unpack to."""
    return max(SMALL, RATIO * os.path.getsize(path))


class _Limited:
    """A stream of unpacked bytes that ends in an error where there are more than `most`."""

    def __init__(self, file: Any, most: int):
        self.file, self.most, self.left = file, most, most

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(self.left + 1 if size < 0 else min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise EOFError(f"it unpacks to more than {self.most} bytes")
        return data


def _idx(path: str | os.PathLike, dimensions: int) -> np.ndarray:
    """One idx file of uint8: 0, 0, 8 (= uint8), dimensions; big-endian uint32 sizes; the bytes."""
    kind = f"an idx file of uint8 in {dimensions} dimension(s), gzipped or not"
    with open(path, "rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    with _reading(path, kind), gzip.open(path) if gzipped else open(path, "rb") as file:
        data = _Limited(file, _most(path)).read()
    magic = bytes([0, 0, 8, dimensions])
    if data[:4] != magic:
        raise fault(path, f"{kind} (magic {magic.hex()})", f"magic {data[:4].hex()}", FETCH_AGAIN)
    header = 4 + 4 * dimensions
    if len(data) < header:
        raise fault(path, f"a header of {header} bytes", f"{len(data)} bytes", FETCH_AGAIN)
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", dimensions, offset=4))
    expected = math.prod(shape)
    if len(data) - header != expected or not expected:
        raise fault(path, f"{expected or 'some'} bytes for shape {shape}", f"{len(data) - header}", FETCH_AGAIN)
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def idx(paths: Paths) -> Arrays:
    """MNIST and Fashion-MNIST: idx files, gzipped or not; train images, train labels, test the same.

    Format: the table at the foot of LeCun, Cortes and Burges' MNIST page.
    """
    train_images, train_labels, test_images, test_labels = paths
    return {
        "train_images": _idx(train_images, 3)[..., None],
        "train_labels": _idx(train_labels, 1),
        "test_images": _idx(test_images, 3)[..., None],
        "test_labels": _idx(test_labels, 1),
    }


def _tar_members(path: str | os.PathLike, names: Sequence[str]) -> dict[str, bytes]:
    """The contents of the members with these base names, read as a stream into memory.

    It stops at the last one wanted: behind STL-10's labelled images lie 2.6 GB of others.
    """
    contents: dict[str, bytes] = {}
    kind = f"a tar.gz archive with {', '.join(names)}"
    with (
        _reading(path, kind),
        gzip.open(path) as file,
        tarfile.open(fileobj=_Limited(file, _most(path)), mode="r|") as archive,  # type: ignore[call-overload]
    ):
        for member in archive:
            base = pathlib.PurePosixPath(member.name).name
            plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)  # a sparse file's holes cost nothing to claim
            if base in names and plain and (content := archive.extractfile(member)):
                contents[base] = content.read()
                if len(contents[base]) != member.size:
                    raise EOFError(f"{base} ends early")
            if len(contents) == len(names):
                return contents
    missing = ", ".join(name for name in names if name not in contents)
    raise fault(path, kind, f"no {missing}", FETCH_AGAIN)


def _records(path: object, name: str, data: bytes, size: int) -> np.ndarray:
    """Bytes as records of a fixed size: uint8 [N, size]."""
    if not data or len(data) % size:
        raise fault(f"{path} ({name})", f"records of {size} bytes", f"{len(data)} bytes", FETCH_AGAIN)
    return np.frombuffer(data, np.uint8).reshape(-1, size)


def cifar10_binary(paths: Paths) -> Arrays:
    """CIFAR-10's binary version: records of a label byte, then red, green and blue planes 32x32.

    Format: Krizhevsky's CIFAR page, "binary version". The five batches are kept in their order.
    """
    (path,) = paths
    batches = [f"data_batch_{number}.bin" for number in range(1, 6)]
    members = _tar_members(path, [*batches, "test_batch.bin"])

    def split(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        rows = np.concatenate([_records(path, name, members[name], 3073) for name in names])
        images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images), rows[:, 0].copy()

    train_images, train_labels = split(batches)
    test_images, test_labels = split(["test_batch.bin"])
    return dict(zip(REQUIRED, (train_images, train_labels, test_images, test_labels), strict=True))


def _from_one(path: object, labels: np.ndarray, highest: int) -> np.ndarray:
    """The labels, which this format counts from 1 (checked here: 0 - 1 would wrap to 255)."""
    if labels.size and not (labels.min() >= 1 and labels.max() <= highest):
        found = f"{labels.min()}..{labels.max()}"
        raise fault(path, f"labels 1..{highest}", found, FETCH_AGAIN)
    return labels


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """(type, bytes) of a MATLAB 5 file's elements, or of those that one is made of."""
    place = 0
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        if kind >> 16:  # four bytes or fewer stand in the tag itself
            kind, size, start, place = kind & 0xFFFF, kind >> 16, place + 4, place + 8
        else:
            start = place + 8
            place = start + size + (0 if kind == MI_COMPRESSED else -size % 8)
        if start + size > min(len(data), place):
            raise EOFError("an element ends early")
        yield kind, data[start : start + size]


def _mat_arrays(data: memoryview, most: int) -> dict[str, np.ndarray]:
    """A MATLAB 5 file's numeric arrays by name, in the types that they are stored in. `most`: bytes to unpack."""
    order = {b"IM": "<", b"MI": ">"}[bytes(data[126:128])]
    found = {}
    for kind, element in _elements(data[128:], order):
        if kind == MI_COMPRESSED:
            decoder = zlib.decompressobj()
            unpacked = decoder.decompress(element, most + 1)
            most -= len(unpacked)
            if most < 0:
                raise EOFError("it unpacks to more than it may")
            if not decoder.eof:
                raise EOFError("a compressed element ends early")
            kind, element = next(_elements(memoryview(unpacked), order))
        parts = list(_elements(element, order)) if kind == MI_MATRIX else []
        if len(parts) >= 4:  # flags, sizes, name, numbers
            sizes, name, (kind, values) = parts[1][1], bytes(parts[2][1]).decode("latin-1"), parts[3]
            if kind in MI_NUMBERS:
                shape = np.frombuffer(sizes, f"{order}u4")
                found[name] = np.frombuffer(values, order + MI_NUMBERS[kind]).reshape(shape, order="F")
    return found


def _mat(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """One of SVHN's MATLAB files: X uint8 [32, 32, 3, N], y [N, 1] with 10 for the digit 0.

    Format: MathWorks, MAT-File Format, level 5. Read here, because scipy's reader crashes on some damaged files.
    """
    kind = "a MATLAB file with X uint8 [32, 32, 3, N] and y [N, 1]"
    data = pathlib.Path(path).read_bytes()
    with _reading(path, kind):
        content = _mat_arrays(memoryview(data), _most(path))
    images, labels = content.get("X"), content.get("y")
    if images is None or labels is None:
        raise fault(path, kind, f"no {'X' if images is None else 'y'}", FETCH_AGAIN)
    right = images.dtype == np.uint8 and images.ndim == 4 and images.shape[:3] == (32, 32, 3)
    if not right or labels.shape != (images.shape[3], 1) or labels.dtype.kind not in "iu":
        found = f"X {images.dtype} {images.shape} and y {labels.dtype} {labels.shape}"
        raise fault(path, kind, found, FETCH_AGAIN)
    images = np.ascontiguousarray(images.transpose(3, 0, 1, 2))
    return images, (_from_one(path, labels[:, 0], 10) % 10).astype(np.uint8)


def svhn_cropped(paths: Paths) -> Arrays:
    """SVHN, format 2 (cropped digits): train_32x32.mat, test_32x32.mat (Netzer et al. 2011)."""
    train, test = (_mat(path) for path in paths)
    return dict(zip(REQUIRED, (*train, *test), strict=True))


def stl10_binary(paths: Paths) -> Arrays:
    """STL-10's labelled images: 3 planes of 96x96, each *column* by column; labels 1..10 -> 0..9.

    Format: Coates, Ng and Lee's STL-10 page. The unlabelled images are not read.
    """
    (path,) = paths
    members = _tar_members(path, ["train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"])
    arrays: Arrays = {}
    for split in ("train", "test"):
        rows = _records(path, f"{split}_X.bin", members[f"{split}_X.bin"], 3 * 96 * 96)
        images = rows.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)  # N, channel, column, row
        labels = np.frombuffer(members[f"{split}_y.bin"], np.uint8)
        if len(labels) != len(images):
            where = f"{path} ({split}_y.bin)"
            raise fault(where, f"{len(images)} labels", len(labels), FETCH_AGAIN)
        arrays[f"{split}_images"] = np.ascontiguousarray(images)
        arrays[f"{split}_labels"] = _from_one(f"{path} ({split}_y.bin)", labels, 10) - np.uint8(1)
    return arrays


def npz(paths: Paths) -> Arrays:
    """An npz file in the layout above, or with Keras' names: MedMNIST's files, our cache, one's own images.

    Images may be [N, H, W] (one channel) and labels [N, 1], as MedMNIST writes them. Shapes and
    types are checked; whether labels are in range is for the caller, who knows the classes.
    """
    (path,) = paths
    kind = f"an npz file with {', '.join(REQUIRED)}"
    if not zipfile.is_zipfile(path):
        found = f"{os.path.getsize(path)} bytes that are no npz file, or a truncated one"
        raise fault(path, kind, found, FETCH_AGAIN)
    with _reading(path, kind), zipfile.ZipFile(path) as archive:
        if (size := sum(info.file_size for info in archive.infolist())) > _most(path):
            raise fault(path, f"at most {_most(path)} bytes unpacked", size, "save it uncompressed, by np.savez")
        held = [name.removesuffix(".npy") for name in archive.namelist()]
        wanted = [*REQUIRED, *(OPTIONAL if set(OPTIONAL) & set(held) else ())]
        names = KERAS if set(KERAS.values()) <= set(held) else {name: name for name in wanted}
        missing = [name for name in names.values() if name not in held]
        if missing:
            found = f"no {', '.join(missing)} (it has {', '.join(held) or 'nothing'})"
            raise fault(path, f"arrays {', '.join(wanted)}", found, "add them")
        arrays = {name: _member(path, archive, theirs) for name, theirs in names.items()}
    for split in ("train", "val", "test"):
        if f"{split}_images" in arrays:
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
            arrays[f"{split}_images"] = _checked_images(f"{path}: {split}_images", images)
            arrays[f"{split}_labels"] = _checked_labels(f"{path}: {split}_labels", labels, len(images))
    return arrays


def _member(path: object, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as member:
        try:
            return np.lib.format.read_array(member, allow_pickle=False)
        except (zipfile.BadZipFile, zlib.error, EOFError, MemoryError):
            raise
        except Exception as error:  # an object array, or a header that is damaged or lies
            expected = "an array of plain numbers (objects would be unpickled)"
            raise fault(f"{path}: {name}", expected, f"[{error}]", REPAIR) from error


def _checked_images(where: str, images: np.ndarray) -> np.ndarray:
    """[N, H, W] or [N, H, W, C] -> [N, H, W, C]."""
    if images.dtype != np.uint8:
        raise fault(where, "uint8 images", *_as_uint8(images))
    if images.ndim == 2 and images.size:
        side = math.isqrt(images.shape[1])
        shape = f"{side}, {side}" if side**2 == images.shape[1] else f"1, {images.shape[1]}"
        expected = "images [N, H, W] or [N, H, W, C]"
        raise fault(where, expected, f"shape {images.shape}", f"give them their shape: x.reshape(-1, {shape})")
    if images.ndim not in (3, 4) or not images.size:
        expected = "at least one image, [N, H, W] or [N, H, W, C]"
        raise fault(where, expected, f"shape {images.shape}", REPAIR)
    return images[..., None] if images.ndim == 3 else images


def _as_uint8(images: np.ndarray) -> tuple[str, str]:
    """What images of another type are, and the line that makes them uint8 without losing what they show."""
    found = str(images.dtype)
    if images.dtype == bool:
        return found, "scale them: x.astype(np.uint8) * 255"
    if images.dtype.kind not in "iuf" or not images.size or not np.isfinite(images).all():
        return f"{found} that are not all finite numbers" if images.dtype.kind == "f" else found, REPAIR
    low, high = images.min(), images.max()
    found = f"{found} from {low:g} to {high:g}"
    if images.dtype.kind == "f" and low >= 0 and high <= 1:
        return found, "scale them: np.rint(255 * x).astype(np.uint8)"
    if low >= 0 and high <= 255:
        return found, "convert them: np.rint(x).astype(np.uint8)"
    if images.dtype == np.uint16:
        return found, "scale them: (x // 257).astype(np.uint8)"
    span = "np.rint(255 * ((x - x.min()) / (x.max() - x.min()))).astype(np.uint8)"
    return found, f"scale them, test images by the training images' limits: {span}"


def _checked_labels(where: str, labels: np.ndarray, count: int) -> np.ndarray:
    """[N], [N, 1] -> [N]; [N, K] of 0 and 1 stays."""
    if labels.dtype.kind not in "biu":
        raise fault(where, "integer labels", labels.dtype, REPAIR)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in (1, 2) or len(labels) != count:
        expected = f"{count} labels (one for each image), [N] or [N, K]"
        raise fault(where, expected, f"shape {labels.shape}", REPAIR)
    if labels.ndim == 2 and not (labels.size and labels.min() >= 0 and labels.max() <= 1):
        expected = "rows of 0 and 1 (multi-label)"
        raise fault(where, expected, f"shape {labels.shape} with other values", REPAIR)
    return labels
