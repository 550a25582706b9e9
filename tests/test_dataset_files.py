"""What data files can go wrong with: interruptions, full disks, many readers at once, and bad input, one line each."""

import hashlib
import subprocess
import sys
import threading

import numpy as np
import official_files as files
import pytest
from official_files import fails

from sam_jax.data import datasets

pytestmark = pytest.mark.usefixtures("no_download")


# The cache.


def test_interrupted_cache_is_never_read(tmp_path, small, monkeypatch):
    train, test = files.mnist(), files.mnist(12, seed=1)
    small("mnist", train, test, files.write_mnist(tmp_path, train, test))
    complete = np.savez

    def broken(path, **arrays):
        complete(path, **arrays)
        path.write_bytes(path.read_bytes()[:100])
        raise KeyboardInterrupt

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(KeyboardInterrupt):
        datasets.load("mnist", tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / ".mnist.0.npz").write_bytes(b"what a killed process leaves")
    monkeypatch.setattr(np, "savez", complete)
    assert "ubyte" in datasets.load("mnist", tmp_path).source
    assert datasets.load("mnist", tmp_path).source == str(tmp_path / "mnist.npz")


def test_a_full_or_read_only_disk_costs_only_the_cache(tmp_path, small, monkeypatch):
    train, test = files.mnist(), files.mnist(12, seed=1)
    small("mnist", train, test, files.write_mnist(tmp_path, train, test))

    def full(path, **arrays):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    before = sorted(tmp_path.iterdir())
    assert files.rows(datasets.load("mnist", tmp_path).test) == files.rows(files.as_split(*test))
    assert sorted(tmp_path.iterdir()) == before


def test_a_users_file_is_never_overwritten(tmp_path, small):
    train, test = files.mnist(), files.mnist(12, seed=1)
    small("mnist", train, test, files.write_mnist(tmp_path, train, test))
    own = tmp_path / "mnist.npz"
    own.write_bytes(b"mine")
    with pytest.raises(ValueError, match="npz file"):
        datasets.load("mnist", tmp_path)
    assert own.read_bytes() == b"mine"
    datasets._keep(own, {"train_images": train[0]})  # one that came while we were parsing
    assert own.read_bytes() == b"mine"


def test_many_at_once(tmp_path, small):
    train, test = files.mnist(), files.mnist(12, seed=1)
    small("mnist", train, test, files.write_mnist(tmp_path, train, test))
    found = []
    threads = [threading.Thread(target=lambda: found.append(datasets.load("mnist", tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for one in found:
        files.assert_same(one, found[0])
    assert not list(tmp_path.glob(".*"))


def test_loading_imports_neither_tfds_nor_scipy_nor_scikit_learn(tmp_path):
    train = test = files.examples(20, (5, 9, 1), 3)
    path = files.write_npz(tmp_path / "own.npz", train, test)
    code = (
        "import sys; from sam_jax.data import datasets; before = set(sys.modules);"
        f"datasets.load({str(path)!r}); new = set(sys.modules) - before;"
        "assert 'tensorflow_datasets' not in sys.modules;"
        "assert not [m for m in new if m.split('.')[0] in ('scipy', 'sklearn')], new"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Bad input: one line each.


@pytest.mark.parametrize("call", [datasets.check, datasets.load])
def test_unknown_name_and_missing_path(tmp_path, call):
    fails(ValueError, lambda: call("minst", tmp_path), "'minst'", "nearest: mnist", *datasets.REGISTRY, ".npz")
    missing = tmp_path / "own.npz"
    fails(FileNotFoundError, lambda: call(str(missing)), missing, "expected", "check the path")
    fails(FileNotFoundError, lambda: call(missing), missing)
    (tmp_path / "file").write_text("")
    fails(ValueError, lambda: call("mnist", tmp_path / "file"), "data folder", "a file")


def test_check_is_quiet_and_reads_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(np, "load", None)
    for name in datasets.REGISTRY:
        datasets.check(name, tmp_path / "absent")
    (tmp_path / "own.npz").write_bytes(b"")
    datasets.check(str(tmp_path / "own.npz"))
    assert not (tmp_path / "absent").exists()


def test_registered_npz_of_other_sizes(tmp_path):
    train, test = files.mnist(), files.mnist(12, seed=1)
    path = files.write_npz(tmp_path / "mnist.npz", train, test)
    parts = [path, "(60000, 28, 28, 1)", "(40, 6, 5, 1)", f"--dataset={path}"]
    fails(ValueError, lambda: datasets.load("mnist", tmp_path), *parts)


def test_registered_npz_with_wrong_labels(tmp_path, small):
    train, test = files.mnist(), files.mnist(12, seed=1)
    small("mnist", train, test)
    high = (train[0], train[1] + 1)
    path = files.write_npz(tmp_path / "mnist.npz", high, test)
    parts = [path, "train_labels", "0..9", "1..10"]
    fails(ValueError, lambda: datasets.load("mnist", tmp_path), *parts)
    hot = (test[0], np.eye(10, dtype=int)[test[1]])
    files.write_npz(tmp_path / "mnist.npz", train, hot)
    fails(ValueError, lambda: datasets.load("mnist", tmp_path), "test_labels", "(12,)", "(12, 10)")


def test_wrong_checksum_of_an_archive_placed_by_hand(tmp_path, small):
    train, test = files.mnist(), files.mnist(12, seed=1)
    paths = files.write_mnist(tmp_path, train, test)
    spec = small("mnist", train, test, paths)
    data = bytearray(paths[2].read_bytes())
    data[-1] ^= 1
    paths[2].write_bytes(data)
    archive = spec.archives[2]
    parts = [paths[2], archive.sha256, hashlib.sha256(data).hexdigest(), archive.url]
    fails(ValueError, lambda: datasets.load("mnist", tmp_path), *parts)
    paths[2].write_bytes(data[:-9])
    parts = [paths[2], f"expected {len(data)} bytes", f"found {len(data) - 9}", "fetch"]
    fails(ValueError, lambda: datasets.load("mnist", tmp_path), *parts)
    assert not (tmp_path / "mnist.npz").exists()


@pytest.mark.parametrize(
    ("train", "test", "parts"),
    [
        (
            ((8, 4, 4, 3), "ok"),
            ((4, 4, 4, 1), "ok"),
            ["test_images", "[N, 4, 4, 3]", "(4, 4, 4, 1)"],
        ),
        (((8, 4, 4, 3), "ok"), ((4, 4, 4, 3), "hot"), ["test_labels", "train_labels", "(4, 3)"]),
        (
            ((8, 4, 4, 3), "negative"),
            ((4, 4, 4, 3), "ok"),
            ["train_labels", "-1..", "from 0|0, 1, 2"],
        ),
        (((8, 4, 4, 3), "huge"), ((4, 4, 4, 3), "ok"), ["train_labels", "1000000"]),
        (((8, 4, 4, 3), "zero"), ((4, 4, 4, 3), "zero"), ["two or more classes"]),
        (((1, 4, 4, 3), "ok"), ((4, 4, 4, 3), "ok"), ["2 or more images", "found 1"]),
    ],
)
def test_own_faults(tmp_path, train, test, parts):
    def split(shape, kind):
        labels = np.arange(shape[0]) % 3
        labels = {
            "ok": labels,
            "hot": np.eye(3, dtype=int)[labels],
            "negative": labels - 1,
            "huge": labels + 10**6,
            "zero": labels * 0,
        }[kind]
        return np.zeros(shape, np.uint8), labels

    path = files.write_npz(tmp_path / "own.npz", split(*train), split(*test))
    with pytest.raises(ValueError) as caught:
        datasets.load(str(path))
    line = str(caught.value)
    assert str(path) in line and "\n" not in line
    assert all(any(choice in line for choice in part.split("|")) for part in parts), line
