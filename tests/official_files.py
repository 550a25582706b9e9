"""Writers of small files in the publishers' formats, from their format pages, for the tests.

Each takes images uint8 [N, H, W, C] and labels [N] and knows nothing of the readers. Also a server
for such files, and `fails`, which says what every error message has to be: one line, to the point.
"""

import contextlib
import gzip
import hashlib
import http.server
import io
import pathlib
import struct
import tarfile
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import scipy.io

from sam_jax.data.datasets import Split
from sam_jax.data.downloads import Archive


def examples(count: int, shape: tuple[int, int, int], classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images in which no two pixels agree by rule (an exchanged axis shows), and labels.

    Every class occurs once before any occurs again.
    """
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, *shape), dtype=np.uint8)
    return images, random.permutation(np.arange(count) % classes).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    """MNIST: two zero bytes, 0x08 for uint8, the number of dimensions, sizes big-endian, bytes."""
    header = struct.pack(">BBBB", 0, 0, 0x08, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(path: pathlib.Path, array: np.ndarray) -> pathlib.Path:
    path.write_bytes(gzip.compress(idx(array)))
    return path


def write_mnist(folder: pathlib.Path, train, test) -> list[pathlib.Path]:
    return [
        write_idx(folder / "train-images-idx3-ubyte.gz", train[0][..., 0]),
        write_idx(folder / "train-labels-idx1-ubyte.gz", train[1]),
        write_idx(folder / "t10k-images-idx3-ubyte.gz", test[0][..., 0]),
        write_idx(folder / "t10k-labels-idx1-ubyte.gz", test[1]),
    ]


def write_tar(path: pathlib.Path, members: dict[str, bytes]) -> pathlib.Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def cifar10_records(images: np.ndarray, labels: np.ndarray) -> bytes:
    """For each image: the label; then 1,024 red bytes row by row, 1,024 green, 1,024 blue."""
    out = bytearray()
    for image, label in zip(images, labels, strict=True):
        out.append(label)
        for channel in range(3):
            for row in range(32):
                out += image[row, :, channel].tobytes()
    return bytes(out)


def write_cifar10(path: pathlib.Path, train, test) -> pathlib.Path:
    """The training images in five batches; the archive's members in another order, as published."""
    batches = zip(np.array_split(train[0], 5), np.array_split(train[1], 5), strict=True)
    folder = "cifar-10-batches-bin/"
    members = {folder + "readme.html": b"<html>", folder + "test_batch.bin": cifar10_records(*test)}
    named = [
        (f"{folder}data_batch_{number}.bin", cifar10_records(*batch)) for number, batch in enumerate(batches, start=1)
    ]
    return write_tar(path, members | dict(reversed(named)))


def write_svhn(path: pathlib.Path, images: np.ndarray, labels: np.ndarray) -> pathlib.Path:
    """X [32, 32, 3, N] and y [N, 1], in which the digit 0 is written as 10."""
    stacked = np.stack(list(images), axis=-1)
    written = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    scipy.io.savemat(path, {"X": stacked, "y": written}, do_compression=True)
    return path


def stl10_members(split: str, images: np.ndarray, labels: np.ndarray) -> dict[str, bytes]:
    """Each image: red, green, blue; in each channel column after column; labels from 1."""
    out = bytearray()
    for image in images:
        for channel in range(3):
            for column in range(96):
                out += image[:, column, channel].tobytes()
    folder = "stl10_binary/"
    return {
        f"{folder}{split}_X.bin": bytes(out),
        f"{folder}{split}_y.bin": (labels + 1).astype(np.uint8).tobytes(),
    }


def write_stl10(path: pathlib.Path, train, test) -> pathlib.Path:
    return write_tar(
        path,
        {
            "stl10_binary/class_names.txt": b"airplane\n",
            **stl10_members("test", *test),
            **stl10_members("train", *train),
            "stl10_binary/unlabeled_X.bin": b"\0" * 27_648,
        },
    )


def write_npz(path: pathlib.Path, train, test, val=None) -> pathlib.Path:
    splits = {"train": train, "test": test} | ({"val": val} if val else {})
    arrays = {}
    for split, (images, labels) in splits.items():
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images, labels
    np.savez(path, **arrays)
    return path


def as_archive(path: pathlib.Path, url: str = "http://127.0.0.1:9/") -> Archive:
    """The archive that this very file is, offered below `url`."""
    data = path.read_bytes()
    unzipped = hashlib.sha256(gzip.decompress(data)).hexdigest() if path.name.endswith("ubyte.gz") else None
    return Archive(url + path.name, path.name, len(data), hashlib.sha256(data).hexdigest(), unzipped)


@contextlib.contextmanager
def server(folder: pathlib.Path, handle=None) -> Iterator[tuple[str, list[str]]]:
    """Serves the folder's files on this machine's loopback: (its URL, the requests it saw).

    handle(handler, data) writes another answer than the whole file.
    """
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            path = folder / self.path.rpartition("/")[2].partition("?")[0]
            if not path.is_file():
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                (handle or (lambda handler, data: handler.wfile.write(data)))(self, path.read_bytes())

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}/", seen
        finally:
            running.shutdown()
            thread.join()


def fails(kind: type[Exception], call, *parts: object) -> None:
    """The call raises this kind of error with one line that contains all parts."""
    with pytest.raises(kind) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    for part in parts:
        assert str(part) in line, line


def mnist(count=40, seed=0):
    return examples(count, (6, 5, 1), 10, seed)


def rows(split):
    """The split as a sorted list of (image bytes, label bytes)."""
    return sorted((x.tobytes(), y.tobytes()) for x, y in zip(*split, strict=True))


def as_split(images, labels, dtype=np.int32):
    return Split(images, labels.astype(dtype))


def assert_same(one, other):
    assert one[:3] == other[:3]
    assert one.checksums() == other.checksums()
