"""Image files in their publishers' formats, read into arrays.

Every reader takes the files of one data set, in the order in which `datasets.REGISTRY` lists its
archives, and returns one dictionary, the project's own npz layout:

    train_images, test_images   uint8 [N, H, W, C]
    train_labels, test_labels   integers [N], or 0/1 rows [N, K] for multi-label data
    val_images, val_labels      the same, only where the publisher cut a validation split

Nothing is unpacked to disk and nothing is unpickled. A file that is damaged, or not of its format,
raises ValueError with one line: the file, what was expected, what was found, what to do.
"""

import contextlib
import gzip
import math
import os
import pathlib
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

Arrays = dict[str, np.ndarray]
Paths = Sequence[str | os.PathLike]

REQUIRED = ("train_images", "train_labels", "test_images", "test_labels")
OPTIONAL = ("val_images", "val_labels")

FETCH_AGAIN = "fetch the file again"
KERAS = (
    "give them these names: f = np.load(path); np.savez('mine.npz', train_images=f['x_train'], "
    "train_labels=f['y_train'], test_images=f['x_test'], test_labels=f['y_test'])"
)
REPAIR = "write the array again (layout: see sam_jax/data/formats.py)"


def fault(where: object, expected: object, found: object, remedy: str) -> ValueError:
    """The one line that every bad file gets."""
    return ValueError(f"{where}: expected {expected}, found {found}; {remedy}")


@contextlib.contextmanager
def _reading(path: str | os.PathLike, kind: str) -> Iterator[None]:
    """Turns the many errors of a damaged archive into the one line."""
    damaged: tuple[type[Exception], ...] = (
        EOFError,
        zlib.error,
        gzip.BadGzipFile,
        tarfile.TarError,
        zipfile.BadZipFile,
    )
    damaged += (NotImplementedError, RuntimeError, MemoryError)  # encrypted, odd compression, a header that lies
    try:
        yield
    except damaged as error:
        found = f"a damaged or truncated file ({str(error) or type(error).__name__})"
        raise fault(path, kind, found, FETCH_AGAIN) from error


def _idx(path: str | os.PathLike, dimensions: int) -> np.ndarray:
    """One idx file of uint8: 0, 0, 8 (= uint8), dimensions; big-endian uint32 sizes; the bytes."""
    kind = f"a gzipped idx file of uint8 in {dimensions} dimension(s)"
    with _reading(path, kind), gzip.open(path) as file:
        data = file.read()
    magic = bytes([0, 0, 8, dimensions])
    if data[:4] != magic:
        raise fault(path, f"{kind} (magic {magic.hex()})", f"magic {data[:4].hex()}", FETCH_AGAIN)
    header = 4 + 4 * dimensions
    if len(data) < header:
        raise fault(path, f"a header of {header} bytes", f"{len(data)} bytes", FETCH_AGAIN)
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", dimensions, offset=4))
    expected = int(np.prod(shape, dtype=object))
    if len(data) - header != expected:
        raise fault(path, f"{expected} bytes for shape {shape}", f"{len(data) - header}", FETCH_AGAIN)
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def idx_gz(paths: Paths) -> Arrays:
    """MNIST and Fashion-MNIST: idx files, gzipped; train images, train labels, test the same.

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
    with _reading(path, kind), tarfile.open(path, "r|gz") as archive:
        for member in archive:
            base = pathlib.PurePosixPath(member.name).name
            if base in names and (content := archive.extractfile(member)) and member.isfile():
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


def _mat(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """One of SVHN's MATLAB files: X uint8 [32, 32, 3, N], y [N, 1] with 10 for the digit 0."""
    import scipy.io  # only SVHN needs it

    kind = "a MATLAB file with X uint8 [32, 32, 3, N] and y [N, 1]"
    try:
        with open(path, "rb") as file:
            content = scipy.io.loadmat(file, variable_names=("X", "y"))
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged MATLAB file ends in any of a dozen exception types
        found = f"a damaged file ({' '.join(str(error).split())})"
        raise fault(path, kind, found, FETCH_AGAIN) from error
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
    """An npz file in the layout above: MedMNIST's files, this project's cache, one's own images.

    Images may be [N, H, W] (one channel) and labels [N, 1], as MedMNIST writes them. Shapes and
    types are checked; whether labels are in range is for the caller, who knows the classes.
    """
    (path,) = paths
    kind = f"an npz file with {', '.join(REQUIRED)}"
    if not zipfile.is_zipfile(path):
        found = f"{os.path.getsize(path)} bytes that are no npz file, or a truncated one"
        raise fault(path, kind, found, FETCH_AGAIN)
    with _reading(path, kind), np.load(path, allow_pickle=False) as file:
        wanted = [*REQUIRED, *(OPTIONAL if set(OPTIONAL) & set(file.files) else ())]
        missing = [name for name in wanted if name not in file.files]
        if missing:
            found = f"no {', '.join(missing)} (it has {', '.join(file.files) or 'nothing'})"
            remedy = KERAS if {"x_train", "y_train", "x_test", "y_test"} <= set(file.files) else "add them"
            raise fault(path, f"arrays {', '.join(wanted)}", found, remedy)
        arrays = {name: _member(path, file, name) for name in wanted}
    for split in ("train", "val", "test"):
        if f"{split}_images" in arrays:
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
            arrays[f"{split}_images"] = _checked_images(f"{path}: {split}_images", images)
            arrays[f"{split}_labels"] = _checked_labels(f"{path}: {split}_labels", labels, len(images))
    return arrays


def _member(path: object, file: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        array = file[name]
    except ValueError as error:  # an object array, or a damaged header
        expected = "an array of plain numbers (objects would be unpickled)"
        raise fault(f"{path}: {name}", expected, f"[{error}]", REPAIR) from error
    if not isinstance(array, np.ndarray):
        raise fault(f"{path}: {name}", "an array", "bytes of another kind", REPAIR)
    return array


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
