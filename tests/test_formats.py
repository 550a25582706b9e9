"""Readers of the publishers' formats, on small files written by `official_files`."""

import gzip
import io

import numpy as np
import official_files as files
import pytest
import scipy.io

from sam_jax.data import formats


def assert_splits(arrays, **splits):
    expected = {}
    for split, (images, labels) in splits.items():
        expected |= {f"{split}_images": images, f"{split}_labels": labels}
    assert set(arrays) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name, strict=False)
        if name.endswith("images"):
            assert arrays[name].dtype == np.uint8 and arrays[name].shape == array.shape


def fails(call, *parts):
    """One line that says what was expected, what was found and, after a semicolon, what to do."""
    files.fails(ValueError, call, "expected", "found", "; ", *parts)


def test_idx(tmp_path):
    train, test = files.examples(12, (5, 7, 1), 10), files.examples(4, (5, 7, 1), 10, seed=1)
    paths = files.write_mnist(tmp_path, train, test)
    assert_splits(formats.idx(paths), train=train, test=test)
    for path in paths:
        path.write_bytes(gzip.decompress(path.read_bytes()))
    assert_splits(formats.idx(paths), train=train, test=test)


def test_cifar10_keeps_batches_in_order_and_rows_columns_channels_apart(tmp_path):
    train, test = files.examples(13, (32, 32, 3), 10), files.examples(3, (32, 32, 3), 10, seed=1)
    path = files.write_cifar10(tmp_path / "cifar-10-binary.tar.gz", train, test)
    assert_splits(formats.cifar10_binary([path]), train=train, test=test)


def test_svhn_label_10_is_digit_0(tmp_path):
    train, test = files.examples(21, (32, 32, 3), 10), files.examples(11, (32, 32, 3), 10, seed=1)
    assert 0 in train[1] and 0 in test[1]
    paths = [
        files.write_svhn(tmp_path / "train_32x32.mat", *train),
        files.write_svhn(tmp_path / "test_32x32.mat", *test),
    ]
    assert_splits(formats.svhn_cropped(paths), train=train, test=test)


@pytest.mark.parametrize("packed", [True, False])
def test_matlab_files_are_read_as_scipy_reads_them(packed):
    random = np.random.default_rng(0)
    for kind in ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8", "i8"):
        file = io.BytesIO()
        numbers = {
            "X": random.integers(0, 99, (3, 2, 4, 5)).astype(kind),
            "y": random.integers(1, 9, (3, 1)).astype(kind),
        }
        scipy.io.savemat(file, numbers | {"text": "abc", "more": {"a": 1}}, do_compression=packed)
        found, expected = formats._mat_arrays(memoryview(file.getvalue()), 10**6), scipy.io.loadmat(file)
        for name in numbers:
            np.testing.assert_array_equal(found[name], expected[name])
            assert found[name].dtype == expected[name].dtype


def test_stl10_is_column_major_and_counts_labels_from_1(tmp_path):
    train, test = files.examples(11, (96, 96, 3), 10), files.examples(10, (96, 96, 3), 10, seed=1)
    path = files.write_stl10(tmp_path / "stl10_binary.tar.gz", train, test)
    assert_splits(formats.stl10_binary([path]), train=train, test=test)


def test_stl10_stops_before_the_unlabelled_images(tmp_path):
    train = test = files.examples(2, (96, 96, 3), 2)
    path = files.write_stl10(tmp_path / "stl10_binary.tar.gz", train, test)
    behind = np.random.default_rng(0).integers(0, 256, 1_000_000, dtype=np.uint8).tobytes()
    members = files.stl10_members("train", *train) | files.stl10_members("test", *test)
    files.write_tar(path, members | {"stl10_binary/unlabeled_X.bin": behind})
    path.write_bytes(path.read_bytes()[:-500_000])  # the archive breaks off in those
    assert_splits(formats.stl10_binary([path]), train=train, test=test)


def test_members_are_found_by_exact_base_name_and_nothing_is_written(tmp_path):
    train, test = files.examples(5, (32, 32, 3), 10), files.examples(2, (32, 32, 3), 10)
    members = {
        f"../../data_batch_{n + 1}.bin": files.cifar10_records(train[0][n : n + 1], train[1][n : n + 1])
        for n in range(5)
    }
    members |= {"x/not_test_batch.bin": b"?", "/test_batch.bin": files.cifar10_records(*test)}
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    path = files.write_tar(folder / "odd.tar.gz", members)
    assert_splits(formats.cifar10_binary([path]), train=train, test=test)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


@pytest.mark.parametrize("labels", ["column", "flat"])
def test_npz_as_medmnist_writes_it(tmp_path, labels):
    train, val, test = (files.examples(n, (6, 4, 3), 3, seed=n) for n in (9, 4, 5))
    column = [(x, y[:, None] if labels == "column" else y) for x, y in (train, val, test)]
    path = files.write_npz(tmp_path / "pathmnist.npz", column[0], column[2], column[1])
    assert_splits(formats.npz([path]), train=train, val=val, test=test)


def test_npz_multi_label_and_no_channel_axis(tmp_path):
    random = np.random.default_rng(0)
    splits = []
    for count in (9, 4, 5):
        images, _ = files.examples(count, (6, 4, 1), 3)
        splits.append((images, random.integers(0, 2, (count, 14))))
    flat = [(images[..., 0], labels) for images, labels in splits]
    path = files.write_npz(tmp_path / "chestmnist.npz", flat[0], flat[2], flat[1])
    assert_splits(formats.npz([path]), train=splits[0], val=splits[1], test=splits[2])


def test_npz_with_keras_names(tmp_path):
    train, test = (files.examples(n, (6, 4, 1), 3, seed=n) for n in (9, 5))
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=train[0][..., 0], y_train=train[1], x_test=test[0][..., 0], y_test=test[1])
    assert_splits(formats.npz([path]), train=train, test=test)


# Damaged files.


def test_bombs_are_refused_before_they_unpack(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "SMALL", 10_000)
    zeros = np.zeros((50_000, 28, 28), np.uint8)
    path = files.write_idx(tmp_path / "images.gz", zeros)
    fails(lambda: formats.idx([path] * 4), path, "it unpacks to more than")
    path = files.write_tar(tmp_path / "a.tar.gz", {"readme": zeros.tobytes()})
    fails(lambda: formats.cifar10_binary([path]), path, "it unpacks to more than")
    path = files.write_svhn(tmp_path / "a.mat", np.zeros((5_000, 32, 32, 3), np.uint8), np.zeros(5_000, int))
    fails(lambda: formats.svhn_cropped([path] * 2), path, "it unpacks to more than it may")
    path, labels = tmp_path / "a.npz", np.arange(len(zeros)) % 3
    arrays = {"train_images": zeros, "train_labels": labels, "test_images": zeros, "test_labels": labels}
    np.savez_compressed(path, **arrays)
    fails(lambda: formats.npz([path]), path, "bytes unpacked", "save it uncompressed, by np.savez")
    np.savez(path, **arrays)
    assert formats.npz([path])["train_images"].shape == (50_000, 28, 28, 1)


def test_idx_faults(tmp_path):
    train = test = files.examples(12, (5, 7, 1), 10)
    paths = files.write_mnist(tmp_path, train, test)
    whole = paths[0].read_bytes()

    paths[0].write_bytes(whole[: len(whole) // 2])
    fails(lambda: formats.idx(paths), paths[0], "truncated", "fetch")
    paths[0].write_bytes(b"not gzip at all")
    fails(lambda: formats.idx(paths), paths[0], "an idx file", "magic 6e6f7420")
    files.write_idx(paths[0], train[1])  # labels where images belong
    fails(lambda: formats.idx(paths), paths[0], "00000803", "00000801")
    paths[0].write_bytes(gzip.compress(gzip.decompress(whole)[:-1]))
    fails(lambda: formats.idx(paths), paths[0], 12 * 5 * 7, 12 * 5 * 7 - 1)
    paths[0].write_bytes(gzip.compress(gzip.decompress(whole)[:10]))
    fails(lambda: formats.idx(paths), paths[0], "16 bytes", "10 bytes")


@pytest.mark.parametrize("size", [10, 0.5, 0.95])
def test_truncated_tar(tmp_path, size):
    train = test = files.examples(10, (32, 32, 3), 10)
    path = files.write_cifar10(tmp_path / "cifar-10-binary.tar.gz", train, test)
    whole = path.read_bytes()
    path.write_bytes(whole[: size if size > 1 else int(size * len(whole))])
    fails(lambda: formats.cifar10_binary([path]), path, "truncated", "fetch")


def test_tar_without_a_member_and_with_a_broken_record(tmp_path):
    path = files.write_tar(tmp_path / "a.tar.gz", {"data_batch_1.bin": b"\0" * 3073})
    fails(lambda: formats.cifar10_binary([path]), path, "no data_batch_2.bin", "test_batch.bin")
    names = [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]
    files.write_tar(path, dict.fromkeys(names, b"\x00" * 3072))
    fails(lambda: formats.cifar10_binary([path]), path, "data_batch_1.bin", "3073", "3072")


def test_stl10_faults(tmp_path):
    images, labels = files.examples(3, (96, 96, 3), 3)
    good = files.stl10_members("test", images, labels)
    path = tmp_path / "stl10_binary.tar.gz"
    files.write_tar(path, good | files.stl10_members("train", images, labels[:2]))
    fails(lambda: formats.stl10_binary([path]), path, "train_y.bin", "3 labels", "found 2")
    files.write_tar(path, good | files.stl10_members("train", images, labels + 9))
    fails(lambda: formats.stl10_binary([path]), path, "labels 1..10", "12")


def test_svhn_faults(tmp_path):
    images, labels = files.examples(3, (32, 32, 3), 3)
    path = files.write_svhn(tmp_path / "train_32x32.mat", images, labels)
    whole = path.read_bytes()
    for size in (0, 60, len(whole) // 2):
        path.write_bytes(whole[:size])
        fails(lambda: formats.svhn_cropped([path, path]), path, "MATLAB")
    files.write_svhn(path, images, labels[:2])
    fails(lambda: formats.svhn_cropped([path, path]), path, "(32, 32, 3, 3)", "(2, 1)")
    files.write_svhn(path, images, labels + 9)
    fails(lambda: formats.svhn_cropped([path, path]), path, "labels 1..10", "11")


def npz_with(tmp_path, **changes):
    """An npz file with good arrays, but for the changes; None leaves an array out."""
    images, labels = files.examples(6, (4, 5, 3), 3)
    arrays = {"train_images": images, "train_labels": labels}
    arrays |= {"test_images": images[:4], "test_labels": labels[:4]} | changes
    path = tmp_path / "own.npz"
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"test_labels": None}, ["no test_labels", "train_images"]),
        ({"val_images": np.zeros((2, 4, 5, 3), np.uint8)}, ["no val_labels"]),
        ({"train_images": np.zeros((6, 4, 5, 3))}, ["train_images", "uint8", "float64"]),
        ({"train_images": np.zeros((6, 4), np.uint8)}, ["train_images", "[N, H, W]", "(6, 4)"]),
        ({"test_images": np.zeros((0, 4, 5, 3), np.uint8)}, ["test_images", "at least one"]),
        ({"train_labels": np.zeros(6)}, ["train_labels", "integer labels", "float64"]),
        ({"train_labels": np.zeros(5, int)}, ["train_labels", "6 labels", "(5,)"]),
        ({"train_labels": np.zeros((6, 2, 2), int)}, ["train_labels", "(6, 2, 2)"]),
        ({"train_labels": np.full((6, 3), 2)}, ["train_labels", "0 and 1"]),
        ({"train_labels": np.array(["a"] * 6)}, ["train_labels", "integer labels", "<U1"]),
        ({"train_labels": np.array([0, 1, None, 1, 0, 1])}, ["train_labels", "plain numbers"]),
    ],
)
def test_npz_faults(tmp_path, changes, parts):
    path = npz_with(tmp_path, **changes)
    fails(lambda: formats.npz([path]), path, *parts)


def test_damaged_npz(tmp_path):
    path = npz_with(tmp_path)
    whole = path.read_bytes()
    for data in (b"", b"hello", whole[:200], whole[:-30]):
        path.write_bytes(data)
        fails(lambda: formats.npz([path]), path, f"{len(data)} bytes", "npz file")
    middle = bytearray(whole)
    middle[300] ^= 255  # a flipped bit among the pixels: the zip file's own checksum shows it
    path.write_bytes(middle)
    fails(lambda: formats.npz([path]), path, "damaged")


def test_nothing_is_unpickled(tmp_path):
    """An object that would leave a trace when loaded, as an npz's member and as a bare array."""
    trace = tmp_path / "trace"

    class Trap:
        def __reduce__(self):
            return (open, (str(trace), "w"))

    boxed = np.empty(1, object)
    boxed[0] = Trap()
    fails(lambda: formats.npz([npz_with(tmp_path, train_images=boxed)]), "train_images")
    bare = tmp_path / "bare.npz"
    with bare.open("wb") as file:
        np.save(file, boxed, allow_pickle=True)
    fails(lambda: formats.npz([bare]), bare)
    assert not trace.exists()
