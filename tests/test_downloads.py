"""The download by the project's TFDS builder, from a server on this machine's loopback."""

import dataclasses
import socket
import sys
import time

import numpy as np
import official_files as files
import pytest
from official_files import fails

from sam_jax.data import datasets, downloads


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """published(NAME, url): a small version of the set, its archives below the URL.

    The files lie in `tmp_path / "server"`; the data folder is `tmp_path / "data"`.
    """
    place = tmp_path / "server"
    place.mkdir()

    def publish(name, url):
        shape = {"mnist": (6, 5, 1), "pathmnist": (6, 5, 3), "chestmnist": (6, 5, 1)}
        shape = shape.get(name, datasets.REGISTRY[name].shape)
        spec = datasets.REGISTRY[name]
        train, val, test = (files.examples(n, shape, 9, seed=n) for n in (40, 11, 12))
        if spec.task == "multi-label":
            train, val, test = (
                (images, np.arange(len(labels) * 14, dtype=np.uint8).reshape(-1, 14) % 3 // 2)
                for images, labels in (train, val, test)
            )
        if name == "mnist":
            paths = files.write_mnist(place, train, test)
        elif name == "cifar10":
            paths = [files.write_cifar10(place / "cifar-10-binary.tar.gz", train, test)]
        else:
            paths = [files.write_npz(place / f"{name}.npz", train, test, val)]
        archives = tuple(files.as_archive(path, url) for path in paths)
        if spec.val_size is not None:  # MedMNIST: a query behind the name
            archives = (dataclasses.replace(archives[0], url=archives[0].url + "?download=1"),)
        spec = dataclasses.replace(
            spec,
            archives=archives,
            shape=shape,
            train_size=40,
            val_size=spec.val_size and 11,
            test_size=12,
        )
        monkeypatch.setitem(datasets.REGISTRY, name, spec)
        return spec, train, val, test

    return publish


@pytest.mark.parametrize("name", ["mnist", "cifar10", "pathmnist", "chestmnist"])
def test_download_prepare_and_cache(tmp_path, published, capsys, name):
    with files.server(tmp_path / "server") as (url, seen):
        spec, train, val, test = published(name, url)
        found = datasets.load(name, tmp_path / "data")
        assert len(seen) == 2 * len(spec.archives)  # one look, one download
    assert capsys.readouterr().out == ""
    assert found.source == ", ".join(archive.url for archive in spec.archives)
    np.testing.assert_array_equal(found.test.images, test[0])  # order, pixels and labels
    np.testing.assert_array_equal(found.test.labels, test[1])
    if spec.val_size:
        np.testing.assert_array_equal(found.train.images, train[0])
        np.testing.assert_array_equal(found.val.labels, val[1])
    else:
        assert len(found.train.labels) == 36 and len(found.val.labels) == 4
    assert [path.name for path in (tmp_path / "data").iterdir()] == [f"{name}.npz"]
    again = datasets.load(name, tmp_path / "data")  # the server is gone
    assert again.checksums() == found.checksums()


def test_only_what_is_missing_is_downloaded(tmp_path, published):
    with files.server(tmp_path / "server") as (url, seen):
        spec, _, _, test = published("mnist", url)
        (tmp_path / "data").mkdir()
        for archive in spec.archives[:3]:
            path = tmp_path / "server" / archive.file_name
            path.rename(tmp_path / "data" / archive.file_name)
        found = datasets.load("mnist", tmp_path / "data")
    assert set(seen) == {"/" + spec.archives[3].file_name}
    np.testing.assert_array_equal(found.test.images, test[0])


@pytest.mark.parametrize("name", ["mnist", "pathmnist"])
def test_wrong_checksum(tmp_path, published, name):
    with files.server(tmp_path / "server") as (url, _):
        spec, *_ = published(name, url)
        path = tmp_path / "server" / spec.archives[0].file_name
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        archive = spec.archives[0]
        parts = [archive.url, archive.sha256, downloads.digest(path)]
        fails(ValueError, lambda: datasets.load(name, tmp_path / "data"), *parts)
    assert not list((tmp_path / "data").iterdir())


def test_no_network_fails_within_ten_seconds(tmp_path, published):
    with files.server(tmp_path / "server") as (url, _):
        spec, *_ = published("mnist", url)
    start = time.monotonic()  # the server is closed
    parts = ["mnist", "cannot download", "refused", tmp_path / "data"]
    parts += [part for archive in spec.archives for part in (archive.url, archive.file_name)]
    fails(ConnectionError, lambda: datasets.load("mnist", tmp_path / "data"), *parts)
    assert time.monotonic() - start < 10
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_a_silent_host_fails_within_ten_seconds(tmp_path, published):
    """It takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        published("mnist", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        start = time.monotonic()
        fails(ConnectionError, lambda: datasets.load("mnist", tmp_path), "cannot download", tmp_path)
        assert time.monotonic() - start < 10


def test_missing_file_on_the_server(tmp_path, published):
    with files.server(tmp_path / "server") as (url, _):
        spec, *_ = published("mnist", url)
        (tmp_path / "server" / spec.archives[1].file_name).unlink()
        fails(ConnectionError, lambda: datasets.load("mnist", tmp_path / "data"), "HTTP 404")


def test_server_that_refuses_after_the_look(tmp_path, published):
    def refuse(handler, data):
        if len(seen) == 1:
            handler.wfile.write(data)
        else:
            raise ConnectionResetError

    with files.server(tmp_path / "server", refuse) as (url, seen):
        spec, *_ = published("pathmnist", url)
        parts = ["pathmnist", "cannot download", spec.archives[0].url]
        fails(ConnectionError, lambda: datasets.load("pathmnist", tmp_path / "data"), *parts)
    assert not list((tmp_path / "data").iterdir())


def test_transfer_that_breaks_off(tmp_path, published):
    def half(handler, data):
        handler.wfile.write(data if len(seen) == 1 else data[: len(data) // 2])

    with files.server(tmp_path / "server", half) as (url, seen):
        published("cifar10", url)
        fails(ConnectionError, lambda: datasets.load("cifar10", tmp_path / "data"), "cifar10")
    assert not list((tmp_path / "data").iterdir())


def test_the_look_goes_through_a_proxy(tmp_path, monkeypatch):
    (tmp_path / "a.gz").write_bytes(b"x")
    archive = downloads.Archive("http://host.invalid/a.gz", "a.gz", 1, "")
    with files.server(tmp_path) as (url, seen):
        monkeypatch.setenv("http_proxy", url)
        assert downloads.look([archive]) is None
    assert seen == ["http://host.invalid/a.gz"]


def test_without_tfds(tmp_path, published, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # importing it now fails
    with files.server(tmp_path / "server") as (url, _):
        spec, *_ = published("mnist", url)
        parts = ["tensorflow-datasets is not installed", *(a.url for a in spec.archives)]
        fails(ImportError, lambda: datasets.load("mnist", tmp_path / "data"), *parts)


def test_verify(tmp_path):
    path = tmp_path / "a-idx.gz"
    path.write_bytes(b"abc")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    good = downloads.Archive("http://x/a", path.name, 3, sha256, unzipped=sha256)
    downloads.verify(path, good)
    for change, part in (({"size": 4}, "4 bytes"), ({"sha256": "1"}, sha256)):
        bad = dataclasses.replace(good, **change)
        fails(ValueError, lambda bad=bad: downloads.verify(path, bad), path, part, bad.url)
    for name in ("a-idx", "a.idx"):
        plain = path.rename(tmp_path / name)
        downloads.verify(plain, dataclasses.replace(good, size=4, sha256="1"))  # those of the zipped file
        bad = dataclasses.replace(good, unzipped="1")
        fails(
            ValueError, lambda bad=bad, plain=plain: downloads.verify(plain, bad), plain, sha256, "keep it as a-idx.gz"
        )
        path = plain
