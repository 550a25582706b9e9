"""Where `sam_jax.datasets` looks, in which order, and what it makes of one's own images; no test asks a network."""

import gzip
import hashlib

import numpy as np
import official_files as files
import pytest
import sklearn.datasets

from sam_jax.data import datasets

pytestmark = pytest.mark.usefixtures("no_download")


# Lookup.


def test_npz_in_the_data_folder(tmp_path, small):
    train, test = files.mnist(), files.mnist(12, seed=1)
    small("mnist", train, test)
    files.write_npz(tmp_path / "mnist.npz", train, test)
    found = datasets.load("mnist", tmp_path)
    assert (found.name, found.task, found.classes) == ("mnist", "single-label", 10)
    assert found.source == str(tmp_path / "mnist.npz")
    assert found.shape == (6, 5, 1) and found.pixels == 30
    assert found.train.labels.dtype == found.test.labels.dtype == np.int32
    assert files.rows(found.test) == files.rows(files.as_split(*test))
    both = files.rows(found.train) + files.rows(found.val)
    assert sorted(both) == files.rows(files.as_split(*train))  # nothing lost, nothing twice: no overlap


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


def unzip(paths, dotted=False):
    """The files in place of the zipped ones, as one unpacker or another names them."""
    found = [path.with_name(path.stem.replace("-idx", ".idx") if dotted else path.stem) for path in paths]
    for path, plain in zip(paths, found, strict=True):
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    return found


@pytest.mark.parametrize("subfolder", ["", "mnist"])
@pytest.mark.parametrize("dotted", [False, True])
def test_unzipped_idx_files_are_read(tmp_path, small, subfolder, dotted):
    train, test = files.mnist(), files.mnist(12, seed=1)
    place = tmp_path / subfolder
    place.mkdir(exist_ok=True)
    paths = files.write_mnist(place, train, test)
    small("mnist", train, test, paths)
    plain = unzip(paths, dotted)
    found = datasets.load("mnist", tmp_path)
    assert found.source == ", ".join(map(str, plain))
    assert files.rows(found.test) == files.rows(files.as_split(*test))
    (tmp_path / "mnist.npz").unlink()
    plain[0].write_bytes(plain[0].read_bytes()[:-1] + b"?")
    zipped = plain[0].with_name("train-images-idx3-ubyte.gz")
    files.fails(ValueError, lambda: datasets.load("mnist", tmp_path), plain[0], f"keep it as {zipped.name}")
    files.write_idx(zipped, train[0][..., 0])  # the remedy, followed
    assert str(zipped) in datasets.load("mnist", tmp_path).source


def test_unzipped_files_of_another_set_are_not_taken(tmp_path, small):
    train, test = files.mnist(), files.mnist(12, seed=1)
    paths = files.write_mnist(tmp_path, train, test)
    small("mnist", train, test, paths)
    (tmp_path / "fashion_mnist").mkdir()
    other = files.mnist(seed=3), files.mnist(12, seed=4)
    theirs = files.write_mnist(tmp_path / "fashion_mnist", *other)
    small("fashion_mnist", *other, theirs)
    for path in theirs:
        path.unlink()
    unzip(paths)
    with pytest.raises(AssertionError, match="a download was tried"):
        datasets.load("fashion_mnist", tmp_path)
    assert files.rows(datasets.load("mnist", tmp_path).test) == files.rows(files.as_split(*test))


def test_keras_own_file_is_read_from_the_data_folder_and_by_its_path(tmp_path, small):
    train, test = files.mnist(), files.mnist(12, seed=1)
    small("mnist", train, test)
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=train[0][..., 0], y_train=train[1], x_test=test[0][..., 0], y_test=test[1])
    for name in ("mnist", path):
        found = datasets.load(name, tmp_path)
        assert files.rows(found.test) == files.rows(files.as_split(*test))


@pytest.mark.parametrize("subfolder", ["", "mnist"])
def test_archives_placed_by_hand_are_read_then_cached(tmp_path, small, subfolder):
    train, test = files.mnist(), files.mnist(12, seed=1)
    place = tmp_path / subfolder
    place.mkdir(exist_ok=True)
    paths = files.write_mnist(place, train, test)
    small("mnist", train, test, paths)
    first = datasets.load("mnist", tmp_path)
    assert first.source == ", ".join(map(str, paths))
    assert files.rows(first.test) == files.rows(files.as_split(*test))
    for path in paths:
        path.unlink()
    second = datasets.load("mnist", tmp_path)
    assert second.source == str(tmp_path / "mnist.npz")
    files.assert_same(first, second)
    with np.load(tmp_path / "mnist.npz", allow_pickle=False) as cache:
        assert cache["train_images"].shape == train[0].shape  # the publisher's, before any cut
        assert cache["train_images"].dtype == np.uint8


def test_npz_goes_before_archives(tmp_path, small):
    train, test, other = files.mnist(), files.mnist(12, seed=1), files.mnist(12, seed=2)
    small("mnist", train, test, files.write_mnist(tmp_path, train, test))
    files.write_npz(tmp_path / "mnist.npz", train, other)
    assert files.rows(datasets.load("mnist", tmp_path).test) == files.rows(files.as_split(*other))


def test_mnist_and_fashion_mnist_share_a_folder(tmp_path, small):
    """Their archives have the same names: each is told by its sum, and nothing is mixed up."""
    train, test = files.mnist(), files.mnist(12, seed=1)
    small("mnist", train, test, files.write_mnist(tmp_path, train, test))
    (tmp_path / "fashion_mnist").mkdir()
    other = files.mnist(seed=3), files.mnist(12, seed=4)
    small("fashion_mnist", *other, files.write_mnist(tmp_path / "fashion_mnist", *other))
    for name, expected in (("mnist", test), ("fashion_mnist", other[1])):
        assert files.rows(datasets.load(name, tmp_path).test) == files.rows(files.as_split(*expected))
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
    assert found.shape == shape and files.rows(found.test) == files.rows(files.as_split(*test))
    assert sorted(files.rows(found.train) + files.rows(found.val)) == files.rows(files.as_split(*train))
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
    expected = files.as_split(original.images.astype(np.uint8), original.target)
    assert files.rows((np.rint(back).astype(np.uint8), labels)) == files.rows(expected)


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


def test_same_split_whatever_the_images(tmp_path):
    one, other = files.examples(50, (4, 4, 1), 5, seed=0), files.examples(50, (7, 4, 3), 5, seed=0)
    other = other[0], one[1]
    marked = []
    for name, (images, labels) in (("one", one), ("other", other)):
        images[:, 0, 0, 0] = np.arange(50)  # each image carries its row
        path = files.write_npz(tmp_path / f"{name}.npz", (images, labels), (images, labels))
        marked.append(datasets.load(str(path)).val.images[:, 0, 0, 0])
    np.testing.assert_array_equal(*marked)


@pytest.mark.parametrize(
    ("spoil", "parts", "mend"),
    [
        (
            lambda labels: np.eye(3, dtype=int)[labels],
            ["one-hot classes", "rows.argmax(axis=1)"],
            lambda y: y.argmax(axis=1),
        ),
        (lambda labels: labels + 1, ["labels that begin at 0", "found 1..3", "labels - 1"], lambda y: y - 1),
    ],
    ids=["one-hot", "from one"],
)
def test_labels_that_are_not_what_they_seem_are_refused_and_the_remedy_mends_them(tmp_path, spoil, parts, mend):
    splits = [files.examples(20, (5, 9, 1), 3), files.examples(6, (5, 9, 1), 3, 1)]
    spoiled = [(images, spoil(labels)) for images, labels in splits]
    path = files.write_npz(tmp_path / "mine.npz", *spoiled)
    files.fails(ValueError, lambda: datasets.load(path), path, *parts)
    mended = datasets.load(files.write_npz(path, *((images, mend(labels)) for images, labels in spoiled)))
    assert (mended.task, mended.classes) == ("single-label", 3)
    np.testing.assert_array_equal(mended.test.labels, splits[1][1])
