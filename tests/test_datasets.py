"""Lookup, registry, splits and cache of `sam_jax.datasets`; no test asks a network."""

import dataclasses
import hashlib
import subprocess
import sys
import threading

import numpy as np
import official_files as files
import pytest
import sklearn.datasets
from official_files import fails

from sam_jax import catalogue, datasets, downloads, formats

NAMES = ["mnist", "fashion_mnist", "cifar10", "svhn", "stl10", "chestmnist", "pathmnist", "digits"]


@pytest.fixture
def small(monkeypatch):
    """Puts a small version of a registered set into the registry, with archives made of files."""

    def put(name, train, test, paths=None, val=None):
        spec = datasets.REGISTRY[name]
        archives = tuple(files.as_archive(path) for path in paths) if paths else spec.archives
        spec = dataclasses.replace(
            spec,
            train_size=len(train[0]),
            val_size=None if val is None else len(val[0]),
            test_size=len(test[0]),
            shape=train[0].shape[1:],
            archives=archives,
        )
        monkeypatch.setitem(datasets.REGISTRY, name, spec)
        return spec

    return put


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a download was tried")

    monkeypatch.setattr(downloads, "download", refuse)


def mnist(count=40, seed=0):
    return files.examples(count, (6, 5, 1), 10, seed)


def rows(split):
    """The split as a sorted list of (image bytes, label bytes)."""
    return sorted((x.tobytes(), y.tobytes()) for x, y in zip(*split, strict=True))


def as_split(images, labels, dtype=np.int32):
    return datasets.Split(images, labels.astype(dtype))


def assert_same(one, other):
    assert one[:3] == other[:3]
    assert one.checksums() == other.checksums()


# The registry.


def test_registry_names_and_facts():
    assert list(datasets.REGISTRY) == NAMES
    for name, spec in datasets.REGISTRY.items():
        assert spec.name == name and spec.title and spec.licence and spec.citation
        assert spec.archives or name == "digits"
        for archive in spec.archives:
            assert archive.url.startswith("http") and f"/{archive.file_name}" in archive.url
            assert (archive.size and len(archive.sha256) == 64) or len(archive.md5) == 32
    multi = [name for name, spec in datasets.REGISTRY.items() if spec.task == "multi-label"]
    assert multi == ["chestmnist"] and datasets.REGISTRY["chestmnist"].classes == 14


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_sums_agree_with_tfds(name):
    """TFDS's own table is the source of the sums: a typing error would show here."""
    import tensorflow_datasets as tfds

    table = tfds.core.utils.tfds_path() / "url_checksums" / f"{name}.txt"
    known = dict(line.split("\t", 1) for line in table.read_text().splitlines())
    for archive in datasets.REGISTRY[name].archives:
        size, sha256, file_name = known[archive.url].split("\t")
        assert archive == downloads.Archive(archive.url, file_name, int(size), sha256)


@pytest.mark.parametrize("name", ["svhn_cropped", "stl10"])
def test_sums_agree_with_tfds_packages(name):
    import tensorflow_datasets as tfds

    table = tfds.core.utils.tfds_path() / "datasets" / name / "checksums.tsv"
    lines = table.read_text().splitlines()
    for archive in datasets.REGISTRY[name.removesuffix("_cropped")].archives:
        line = f"{archive.url}\t{archive.size}\t{archive.sha256}\t{archive.file_name}"
        assert line in lines


# Lookup.


def test_npz_in_the_data_folder(tmp_path, small):
    train, test = mnist(), mnist(12, seed=1)
    small("mnist", train, test)
    files.write_npz(tmp_path / "mnist.npz", train, test)
    found = datasets.load("mnist", tmp_path)
    assert (found.name, found.task, found.classes) == ("mnist", "single-label", 10)
    assert found.source == str(tmp_path / "mnist.npz")
    assert found.shape == (6, 5, 1) and found.pixels == 30
    assert found.train.labels.dtype == found.test.labels.dtype == np.int32
    assert rows(found.test) == rows(as_split(*test))
    both = rows(found.train) + rows(found.val)
    assert sorted(both) == rows(as_split(*train))  # nothing lost, nothing twice: no overlap


def test_data_folder_is_argument_then_variable_then_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("SAM_JAX_DATA_DIR", raising=False)
    assert datasets.data_folder() == tmp_path / "home" / ".cache" / "sam_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert datasets.data_folder() == tmp_path / "xdg" / "sam_jax"
    monkeypatch.setenv("SAM_JAX_DATA_DIR", "~/data")
    assert datasets.data_folder() == tmp_path / "home" / "data"
    assert datasets.data_folder(tmp_path) == tmp_path


@pytest.mark.parametrize("subfolder", ["", "mnist"])
def test_archives_placed_by_hand_are_read_then_cached(tmp_path, small, subfolder):
    train, test = mnist(), mnist(12, seed=1)
    place = tmp_path / subfolder
    place.mkdir(exist_ok=True)
    paths = files.write_mnist(place, train, test)
    small("mnist", train, test, paths)
    first = datasets.load("mnist", tmp_path)
    assert first.source == ", ".join(map(str, paths))
    assert rows(first.test) == rows(as_split(*test))
    for path in paths:
        path.unlink()
    second = datasets.load("mnist", tmp_path)
    assert second.source == str(tmp_path / "mnist.npz")
    assert_same(first, second)
    with np.load(tmp_path / "mnist.npz", allow_pickle=False) as cache:
        assert cache["train_images"].shape == train[0].shape  # the publisher's, before any cut
        assert cache["train_images"].dtype == np.uint8


def test_npz_goes_before_archives(tmp_path, small):
    train, test, other = mnist(), mnist(12, seed=1), mnist(12, seed=2)
    small("mnist", train, test, files.write_mnist(tmp_path, train, test))
    files.write_npz(tmp_path / "mnist.npz", train, other)
    assert rows(datasets.load("mnist", tmp_path).test) == rows(as_split(*other))


def test_mnist_and_fashion_mnist_share_a_folder(tmp_path, small):
    """Their archives have the same names: each is told by its sum, and nothing is mixed up."""
    train, test = mnist(), mnist(12, seed=1)
    small("mnist", train, test, files.write_mnist(tmp_path, train, test))
    (tmp_path / "fashion_mnist").mkdir()
    other = mnist(seed=3), mnist(12, seed=4)
    small("fashion_mnist", *other, files.write_mnist(tmp_path / "fashion_mnist", *other))
    for name, expected in (("mnist", test), ("fashion_mnist", other[1])):
        assert rows(datasets.load(name, tmp_path).test) == rows(as_split(*expected))
    for path in (tmp_path / "fashion_mnist").iterdir():
        path.unlink()
    (tmp_path / "fashion_mnist.npz").unlink()
    with pytest.raises(AssertionError, match="a download was tried"):  # MNIST's are not taken
        datasets.load("fashion_mnist", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "svhn", "stl10"])
def test_every_archive_format_through_load(tmp_path, small, name):
    shape = datasets.REGISTRY[name].shape
    train, test = files.examples(30, shape, 10), files.examples(10, shape, 10, seed=1)
    if name == "svhn":
        paths = [
            files.write_svhn(tmp_path / "train_32x32.mat", *train),
            files.write_svhn(tmp_path / "test_32x32.mat", *test),
        ]
    elif name == "cifar10":
        paths = [files.write_cifar10(tmp_path / "cifar-10-binary.tar.gz", train, test)]
    else:
        paths = [files.write_stl10(tmp_path / "stl10_binary.tar.gz", train, test)]
    small(name, train, test, paths)
    found = datasets.load(name, tmp_path)
    assert found.shape == shape and rows(found.test) == rows(as_split(*test))
    assert sorted(rows(found.train) + rows(found.val)) == rows(as_split(*train))
    assert len(found.val.labels) == 3


def test_medmnist_keeps_its_own_validation_split(tmp_path, small):
    random = np.random.default_rng(0)
    splits = []
    for count in (30, 8, 9):
        images, _ = files.examples(count, (6, 5, 1), 3)
        splits.append((images, random.integers(0, 2, (count, 14), dtype=np.uint8)))
    train, val, test = splits
    small("chestmnist", train, test, val=val)
    flat = [(images[..., 0], labels) for images, labels in splits]
    files.write_npz(tmp_path / "chestmnist.npz", flat[0], flat[2], flat[1])
    found = datasets.load("chestmnist", tmp_path)
    assert (found.task, found.classes) == ("multi-label", 14)
    for split, (images, labels) in zip(("train", "val", "test"), splits, strict=True):
        np.testing.assert_array_equal(getattr(found, split).images, images)
        np.testing.assert_array_equal(getattr(found, split).labels, labels)
        assert getattr(found, split).labels.dtype == np.uint8


def test_digits_need_no_folder(tmp_path):
    found = datasets.load("digits", tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
    assert found.source == "scikit-learn" and found.shape == (8, 8, 1) and found.classes == 10
    assert [len(split.labels) for split in found[4:]] == [1295, 143, 359]
    original = sklearn.datasets.load_digits()
    images = np.concatenate([split.images for split in found[4:]])
    back = images[..., 0].astype(int) * 16 / 255  # the inverse, to within rounding
    assert np.abs(back - np.rint(back)).max() < 0.04
    labels = np.concatenate([split.labels for split in found[4:]])
    expected = as_split(original.images.astype(np.uint8), original.target)
    assert rows((np.rint(back).astype(np.uint8), labels)) == rows(expected)


def test_checksums_are_of_the_raw_bytes(tmp_path):
    train, val, test = (files.examples(n, (3, 4, 2), 2, seed=n) for n in (6, 3, 4))
    found = datasets.load(str(files.write_npz(tmp_path / "own.npz", train, test, val)))
    sums = found.checksums()
    assert len(sums) == 6
    for split, (images, labels) in {"train": train, "val": val, "test": test}.items():
        assert sums[f"{split}_images"] == hashlib.sha256(images.tobytes()).hexdigest()
        little = labels.astype("<i4").tobytes()
        assert sums[f"{split}_labels"] == hashlib.sha256(little).hexdigest()


# One's own images.


@pytest.mark.parametrize("as_path", [False, True])
def test_own_images(tmp_path, as_path):
    train, test = files.examples(20, (5, 9, 2), 3), files.examples(6, (5, 9, 2), 4)
    path = files.write_npz(tmp_path / "blobs.npz", train, test)
    found = datasets.load(path if as_path else str(path))
    assert (found.name, found.task, found.source) == ("blobs", "single-label", str(path))
    assert found.classes == 4  # the fourth only in the test split
    assert found.shape == (5, 9, 2) and len(found.val.labels) == 2


def test_own_gray_and_multi_label_images(tmp_path):
    images, _ = files.examples(20, (5, 9, 1), 3)
    labels = np.random.default_rng(0).integers(0, 2, (20, 3)).astype(bool)
    split = images[..., 0], labels
    found = datasets.load(files.write_npz(tmp_path / "many.npz", split, split))
    assert (found.task, found.classes, found.shape) == ("multi-label", 3, (5, 9, 1))
    assert found.test.labels.dtype == np.uint8 and len(found.val.labels) == 2
    np.testing.assert_array_equal(found.test.labels, labels)


def test_own_images_named_as_a_registered_set(tmp_path):
    train = test = files.examples(20, (5, 9, 1), 3)
    path = files.write_npz(tmp_path / "mnist.npz", train, test)
    assert datasets.load(str(path)).classes == 3


# The validation split.


def test_held_out_is_stratified_disjoint_and_exact():
    labels = np.repeat(np.arange(4), (1000, 305, 52, 1))
    np.random.default_rng(0).shuffle(labels)
    held = catalogue.held_out(labels, every=10)
    assert len(held) == len(set(held)) == len(labels) // 10
    counts = np.bincount(labels[held], minlength=4)
    assert np.all(np.abs(counts - np.bincount(labels) / 10) < 1)


def test_held_out_is_the_same_everywhere():
    """Fixed numbers: a change here changes every published split."""
    labels = np.arange(40) % 4
    np.testing.assert_array_equal(catalogue.held_out(labels, every=10), [0, 3, 9, 38])
    large = catalogue.held_out(np.arange(50_000) % 10, every=10)
    digest = hashlib.sha256(large.astype("<i8").tobytes()).hexdigest()
    assert digest == "f80b8a42e90fbb4ead912fa5be0375b0625cd570c5973c2f8426903ef025d74b"


@pytest.mark.parametrize("count", [1, 2, 5, 9, 10, 11])
def test_held_out_of_few(count):
    held = catalogue.held_out(np.arange(count), every=10)  # each class has one example
    assert len(held) == 1 and 0 <= held[0] < count


def test_held_out_of_multi_label_rows():
    labels = np.zeros((100, 14), np.uint8)
    held = catalogue.held_out(labels, every=10)
    assert len(set(held)) == 10 and not np.array_equal(held, np.arange(9, 100, 10))


def test_same_split_whatever_the_images(tmp_path):
    one, other = files.examples(50, (4, 4, 1), 5, seed=0), files.examples(50, (7, 4, 3), 5, seed=0)
    other = other[0], one[1]
    marked = []
    for name, (images, labels) in (("one", one), ("other", other)):
        images[:, 0, 0, 0] = np.arange(50)  # each image carries its row
        path = files.write_npz(tmp_path / f"{name}.npz", (images, labels), (images, labels))
        marked.append(datasets.load(str(path)).val.images[:, 0, 0, 0])
    np.testing.assert_array_equal(*marked)


# The cache.


def test_interrupted_cache_is_never_read(tmp_path, small, monkeypatch):
    train, test = mnist(), mnist(12, seed=1)
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
    train, test = mnist(), mnist(12, seed=1)
    small("mnist", train, test, files.write_mnist(tmp_path, train, test))

    def full(path, **arrays):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    before = sorted(tmp_path.iterdir())
    assert rows(datasets.load("mnist", tmp_path).test) == rows(as_split(*test))
    assert sorted(tmp_path.iterdir()) == before


def test_a_users_file_is_never_overwritten(tmp_path, small):
    train, test = mnist(), mnist(12, seed=1)
    small("mnist", train, test, files.write_mnist(tmp_path, train, test))
    own = tmp_path / "mnist.npz"
    own.write_bytes(b"mine")
    with pytest.raises(ValueError, match="npz file"):
        datasets.load("mnist", tmp_path)
    assert own.read_bytes() == b"mine"
    datasets._keep(own, {"train_images": train[0]})  # one that came while we were parsing
    assert own.read_bytes() == b"mine"


def test_many_at_once(tmp_path, small):
    train, test = mnist(), mnist(12, seed=1)
    small("mnist", train, test, files.write_mnist(tmp_path, train, test))
    found = []
    threads = [threading.Thread(target=lambda: found.append(datasets.load("mnist", tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for one in found:
        assert_same(one, found[0])
    assert not list(tmp_path.glob(".*"))


def test_loading_imports_neither_tfds_nor_scipy_nor_scikit_learn(tmp_path):
    train = test = files.examples(20, (5, 9, 1), 3)
    path = files.write_npz(tmp_path / "own.npz", train, test)
    code = (
        "import sys; from sam_jax import datasets; before = set(sys.modules);"
        f"datasets.load({str(path)!r}); new = set(sys.modules) - before;"
        "assert 'tensorflow_datasets' not in sys.modules;"
        "assert not [m for m in new if m.split('.')[0] in ('scipy', 'sklearn')], new"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Bad input: one line each.


@pytest.mark.parametrize("call", [datasets.check, datasets.load])
def test_unknown_name_and_missing_path(tmp_path, call):
    fails(ValueError, lambda: call("minst", tmp_path), "'minst'", "nearest: mnist", *NAMES, ".npz")
    missing = tmp_path / "own.npz"
    fails(FileNotFoundError, lambda: call(str(missing)), missing, "expected", "check the path")
    fails(FileNotFoundError, lambda: call(missing), missing)
    (tmp_path / "file").write_text("")
    fails(ValueError, lambda: call("mnist", tmp_path / "file"), "data folder", "a file")


def test_check_is_quiet_and_reads_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(np, "load", None)
    for name in NAMES:
        datasets.check(name, tmp_path / "absent")
    (tmp_path / "own.npz").write_bytes(b"")
    datasets.check(str(tmp_path / "own.npz"))
    assert not (tmp_path / "absent").exists()


def test_registered_npz_of_other_sizes(tmp_path):
    train, test = mnist(), mnist(12, seed=1)
    path = files.write_npz(tmp_path / "mnist.npz", train, test)
    parts = [path, "(60000, 28, 28, 1)", "(40, 6, 5, 1)", f"--dataset={path}"]
    fails(ValueError, lambda: datasets.load("mnist", tmp_path), *parts)


def test_registered_npz_with_wrong_labels(tmp_path, small):
    train, test = mnist(), mnist(12, seed=1)
    small("mnist", train, test)
    high = (train[0], train[1] + 1)
    path = files.write_npz(tmp_path / "mnist.npz", high, test)
    parts = [path, "train_labels", "0..9", "1..10"]
    fails(ValueError, lambda: datasets.load("mnist", tmp_path), *parts)
    hot = (test[0], np.eye(10, dtype=int)[test[1]])
    files.write_npz(tmp_path / "mnist.npz", train, hot)
    fails(ValueError, lambda: datasets.load("mnist", tmp_path), "test_labels", "(12,)", "(12, 10)")


def test_wrong_checksum_of_an_archive_placed_by_hand(tmp_path, small):
    train, test = mnist(), mnist(12, seed=1)
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


def test_formats_are_those_of_the_catalogue():
    parsers = {spec.parse for spec in datasets.REGISTRY.values()}
    known = {formats.idx_gz, formats.cifar10_binary, formats.svhn_cropped, formats.stl10_binary}
    assert parsers == known | {formats.npz, catalogue.digits}
