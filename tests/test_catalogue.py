"""The registry's facts against TFDS's own tables, and the choice of the validation split."""

import hashlib

import numpy as np
import pytest

from sam_jax.data import catalogue, datasets, formats

NAMES = ["mnist", "fashion_mnist", "cifar10", "svhn", "stl10", "chestmnist", "pathmnist", "digits"]


def test_registry_names_and_facts():
    assert list(datasets.REGISTRY) == NAMES
    for name, spec in datasets.REGISTRY.items():
        assert spec.name == name and spec.title and spec.licence and spec.citation
        assert spec.archives or name == "digits"
        for archive in spec.archives:
            assert archive.url.startswith("http://ufldl.stanford" if name == "svhn" else "https://")
            assert f"/{archive.file_name}" in archive.url
            assert archive.size and len(archive.sha256) == 64
            assert (archive.unzipped is not None) == archive.file_name.endswith("ubyte.gz")
    multi = [name for name, spec in datasets.REGISTRY.items() if spec.task == "multi-label"]
    assert multi == ["chestmnist"] and datasets.REGISTRY["chestmnist"].classes == 14


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_sums_agree_with_tfds(name):
    """TFDS's own table is the source of the sums: a typing error would show here."""
    import tensorflow_datasets as tfds

    table = tfds.core.utils.tfds_path() / "url_checksums" / f"{name}.txt"
    known = [line.split("\t")[1:] for line in table.read_text().splitlines()]
    for archive in datasets.REGISTRY[name].archives:  # the addresses are the https ones of the same files
        assert [str(archive.size), archive.sha256, archive.file_name] in known


@pytest.mark.parametrize("name", ["svhn_cropped", "stl10"])
def test_sums_agree_with_tfds_packages(name):
    import tensorflow_datasets as tfds

    table = tfds.core.utils.tfds_path() / "datasets" / name / "checksums.tsv"
    lines = table.read_text().splitlines()
    for archive in datasets.REGISTRY[name.removesuffix("_cropped")].archives:
        line = f"{archive.url}\t{archive.size}\t{archive.sha256}\t{archive.file_name}"
        assert line in lines or line.replace("https", "http") in lines


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


def test_formats_are_those_of_the_catalogue():
    parsers = {spec.parse for spec in datasets.REGISTRY.values()}
    known = {formats.idx, formats.cifar10_binary, formats.svhn_cropped, formats.stl10_binary}
    assert parsers == known | {formats.npz, catalogue.digits}
