"""Whatever bytes come, a parser returns or refuses them in a documented way; what is valid comes back as it was.

`benchmarks/fuzz.py` runs the same for minutes.
"""

import gzip
import io
import pathlib
import string
import tempfile
from unittest import mock

import hypothesis
import hypothesis.extra.numpy as arrays
import jax
import numpy as np
import official_files as files
import parsers
import pytest
from hypothesis import strategies as st

import sam_jax as sj
from sam_jax.data import datasets, formats
from sam_jax.lab import flags, records

SETTINGS = hypothesis.settings(derandomize=True, deadline=None, database=None, max_examples=25)
FEW = hypothesis.settings(SETTINGS, max_examples=10)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """For each parser its folder and its valid inputs."""
    made = {}
    for name, parser in parsers.PARSERS.items():
        folder = tmp_path_factory.mktemp(name)
        made[name] = folder, parser.valid(folder)
    return made


@pytest.mark.parametrize("name", parsers.PARSERS)
def test_valid_inputs_are_accepted(name, inputs):
    folder, valid = inputs[name]
    for data in valid:
        assert parsers.refusal(parsers.PARSERS[name], data, folder) is None


@pytest.mark.parametrize("name", parsers.PARSERS)
def test_any_bytes_are_accepted_or_refused_in_a_documented_way(name, inputs):
    folder, valid = inputs[name]
    parser, others = parsers.PARSERS[name], [inputs[other][1][0] for other in ("idx", "npz", "trained")]
    refused = 0

    @SETTINGS
    @hypothesis.given(st.one_of(st.binary(max_size=300), st.randoms(use_true_random=False)))
    def hold(draw):
        nonlocal refused
        data = draw if isinstance(draw, bytes) else parsers.changed(draw, parser, valid, others)
        refused += parsers.refusal(parser, data, folder) is not None

    hold()
    assert refused  # not all were harmless


@pytest.mark.parametrize("name", [name for name, parser in parsers.PARSERS.items() if parser.bomb])
def test_bombs_are_refused(name, inputs, monkeypatch):
    monkeypatch.setattr(formats, "SMALL", 2**20)
    monkeypatch.setattr(parsers, "BOMB", 2**23)
    parser = parsers.PARSERS[name]
    with mock.patch.object(formats, "RATIO", 2):
        line = parsers.refusal(parser, parser.bomb(), inputs[name][0])
    assert line is not None and ("it unpacks to more than" in line or "bytes unpacked" in line)


def test_an_undocumented_error_or_a_second_line_would_show(tmp_path):
    def parse(error):
        def fail(data, folder):
            raise error

        return parsers.Parser(lambda folder: [b""], fail)

    assert parsers.refusal(parse(ValueError("a line")), b"", tmp_path) == "a line"
    for error in (KeyError("x"), RuntimeError("x"), MemoryError()):
        with pytest.raises(type(error)):
            parsers.refusal(parse(error), b"", tmp_path)
    with pytest.raises(AssertionError, match="several lines"):
        parsers.refusal(parse(ValueError("two\nlines")), b"", tmp_path)


# What is valid comes back.

sides = st.tuples(st.integers(1, 4), st.integers(1, 5))
pixels = st.integers(0, 255)


def split(count, shape, classes):
    """Images and labels."""
    return st.tuples(
        arrays.arrays(np.uint8, (count, *shape), elements=pixels),
        arrays.arrays(np.uint8, count, elements=st.integers(0, classes - 1)),
    )


def splits(shape, classes=10):
    counts = st.integers(5, 7), st.integers(1, 3)
    return st.tuples(*(count.flatmap(lambda n: split(n, shape, classes)) for count in counts))


def same(found, train, test):
    for name, (images, labels) in {"train": train, "test": test}.items():
        np.testing.assert_array_equal(found[f"{name}_images"], images)
        np.testing.assert_array_equal(found[f"{name}_labels"], labels)


@pytest.mark.parametrize(
    ("shape", "write", "parse"),
    [
        (None, files.write_mnist, formats.idx),
        ((32, 32, 3), lambda folder, *both: [files.write_cifar10(folder / "a", *both)], formats.cifar10_binary),
        ((96, 96, 3), lambda folder, *both: [files.write_stl10(folder / "a", *both)], formats.stl10_binary),
        (
            (32, 32, 3),
            lambda folder, *both: [files.write_svhn(folder / f"{n}", *one) for n, one in enumerate(both)],
            formats.svhn_cropped,
        ),
        (None, lambda folder, *both: [files.write_npz(folder / "a.npz", *both)], formats.npz),
    ],
    ids=["idx", "cifar10", "stl10", "svhn", "npz"],
)
def test_images_come_back(shape, write, parse, tmp_path):
    @FEW
    @hypothesis.given((st.just(shape) if shape else sides.map(lambda side: (*side, 1))).flatmap(splits))
    def hold(both):
        same(parse(write(tmp_path, *both)), *both)

    hold()


@FEW
@hypothesis.given(sides.flatmap(lambda side: splits((*side, 1))))
def test_unzipped_idx_files_give_what_the_zipped_ones_give(both):
    with tempfile.TemporaryDirectory() as folder:
        paths = files.write_mnist(pathlib.Path(folder), *both)
        for path in paths[::2]:
            path.write_bytes(gzip.decompress(path.read_bytes()))
        same(formats.idx(paths), *both)


names = st.text(string.printable + "äβ\u2028\x85", max_size=8)
values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), names)


def test_rows_and_manifests_come_back(tmp_path):
    @SETTINGS
    @hypothesis.given(names, names, st.lists(st.dictionaries(names.map("x{}".format), values, max_size=3), max_size=4))
    def hold(dataset, arm, more):
        data = parsers.manifest_valid(tmp_path)[0]
        parsers.written(tmp_path, records.MANIFEST, data)
        parsers.written(tmp_path, records.METRICS, b"")
        rows = [{"dataset": dataset, "arm": arm, "seed": 0, "epoch": epoch, **row} for epoch, row in enumerate(more)]
        records.append(tmp_path, rows)
        manifest, found = records.read(tmp_path)
        assert found == rows
        records.write_manifest(tmp_path, manifest)
        assert records.read(tmp_path)[0] == manifest

    hold()


@pytest.mark.parametrize("rule", ["sgd", "sam"])
def test_trained_circuits_come_back(rule, tmp_path):
    @hypothesis.settings(FEW, max_examples=4)  # every shape is compiled
    @hypothesis.given(st.lists(st.integers(1, 5), min_size=2, max_size=3), st.integers(1, 3))
    def hold(widths, runs):
        circuit = sj.RULES[rule](tuple(widths))
        state = sj.init(circuit, jax.random.key(0))
        stacked = jax.tree.map(lambda leaf: np.stack([leaf] * runs), state.synapses)
        mean, std, lost = np.ones((1, widths[0]), np.float32), np.full((), 2, np.float32), np.arange(runs) > 0
        seeds = tuple(range(runs))
        net = sj.Trained(sj.RULES[rule], circuit, sj.losses.mse, stacked, (), mean, std, seeds, lost)
        sj.save(tmp_path / "net", net)
        found = sj.restore(tmp_path / "net")
        assert (found.rule, found.circuit, found.loss, found.seeds) == (net.rule, circuit, net.loss, seeds)
        for part in ("synapses", "mean", "std", "diverged"):
            jax.tree.map(np.testing.assert_array_equal, getattr(found, part), getattr(net, part))

    hold()


def test_numbers_and_widths_come_back(tmp_path):
    positive = st.floats(0, 1e30)

    @FEW
    @hypothesis.given(positive, positive, st.lists(st.integers(1, 10**9), min_size=1, max_size=4))
    def hold(rate, decay, widths):
        text = f"--rate_w={rate}\n--decay={decay}\n"
        assert parsers.config_parse(text.encode(), tmp_path) == {"rate_w": rate, "decay": decay}
        given = "\n".join(["--noconfigs", f"--rate_w={rate}", f"--hidden_widths={','.join(map(str, widths))}"])
        options = parsers.flags_parse(given.encode(), tmp_path)
        assert options.given == {"rate_w": rate} and options.hidden_widths == tuple(widths)

    hold()


@SETTINGS
@hypothesis.given(st.sampled_from(sj.PATHWAYS), st.integers(0, 10**6))
def test_interventions_come_back(pathway, epoch):
    assert sj.interventions.parse("lesion", f"{pathway}@{epoch}") == ("lesion", pathway, epoch)


# What was found.


def test_a_user_that_does_not_exist_is_no_traceback(tmp_path):
    options = flags.parse(parsers.experiment(tmp_path), ["mine.py", "--out_dir=~nobody_of_this_name/out"])
    assert str(options.folder()) == "~nobody_of_this_name/out"
    files.fails(FileNotFoundError, lambda: datasets.check("~nobody_of_this_name/a.npz"), "check the path")
    files.fails(FileNotFoundError, lambda: sj.rules.find("~nobody_of_this_name/a.py:b"), "there is no file")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import os\n)", "cannot be imported: SyntaxError: unmatched ')' (own.py, line 2)"),
        ("\n1 / 0", "line 2 cannot be imp"),
    ],
)
def test_a_rules_file_that_ends_in_an_error_is_one_line(text, what, tmp_path):
    (tmp_path / "own.py").write_text(text)
    files.fails(ValueError, lambda: sj.rules.find(f"{tmp_path}/own.py:mine"), tmp_path / "own.py", what)


def test_a_very_long_flag_is_one_line(tmp_path):
    files.fails(ValueError, lambda: parsers.flags_parse(b"--" + b"x" * 3000, tmp_path), "a flag's name is too long")


@pytest.mark.parametrize(
    ("manifest", "metrics", "what"),
    [
        (b"[]", b"", "expected a JSON object, found list"),
        (b"[" * 5000, b"", "expected JSON, found a damaged file"),
        (b"\xff{}", b"", "expected JSON"),
        (b'{"kind": "experiment"}', b"", "cells: expected dict, found nothing"),
        (b'{"cells": {"digits": {"sgd": {}}}, "data": {"digits": {}}}', b"", "names no kind of run"),
        (None, b"{}\n", "line 1: dataset: expected str, found nothing"),
        (None, parsers.lines(parsers.ROWS) + b"nonsense\n", "metrics.jsonl, line 4: expected JSON"),
        (None, parsers.lines([parsers.ROWS[0] | {"seed": [1]}]), "seed: expected int, found list"),
    ],
)
def test_a_damaged_folder_is_one_line_that_says_where(manifest, metrics, what, tmp_path):
    manifest = manifest or parsers.manifest_valid(tmp_path)[0]
    files.fails(ValueError, lambda: parsers.run_folder(tmp_path, manifest, metrics), tmp_path, what, "move the folder")


def test_a_trained_circuits_rule_is_named_in_one_line_whatever_its_name(tmp_path):
    content = parsers.flax.serialization.msgpack_restore(parsers.trained_valid(tmp_path)[0])
    path = parsers.written(tmp_path, "net", parsers.flax.serialization.msgpack_serialize(content | {"rule": "s\nm"}))
    for rule in (None, sj.sgd):
        files.fails(ValueError, lambda rule=rule: sj.restore(path, rule=rule), path, r"'s\nm'")


def test_damaged_trained_circuits_are_one_line(tmp_path):
    data = parsers.trained_valid(tmp_path)[0]
    for bad in (b"", b"\x93\x01", data[:-9], data.replace(b"mse", b"msf"), data.replace(b"relu", b"nelu")):
        path = parsers.written(tmp_path, "net", bad)
        if bad != data:
            files.fails(ValueError, lambda path=path: sj.restore(path), path, "holds no trained circuits")
    content = parsers.flax.serialization.msgpack_restore(data)
    for name, value in {"mean": np.zeros(3), "seeds": [0, 1], "diverged": np.zeros(1), "circuit": {}}.items():
        text = parsers.flax.serialization.msgpack_serialize(content | {name: value})
        path = parsers.written(tmp_path, "net", text)
        files.fails(ValueError, lambda path=path: sj.restore(path), path, "holds no trained circuits")


def test_an_npz_with_a_stray_magic_number_is_not_answered_with_advice_to_unpickle(tmp_path):
    file = io.BytesIO()
    images, labels = files.examples(6, (4, 5, 3), 3)
    np.savez(file, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    for start in (b"\x93NUMPY", b"\x80\x04", bytes(500)):
        path = parsers.written(tmp_path, "a.npz", start + file.getvalue()[len(start) :])
        with pytest.raises(ValueError, match="fetch the file again") as caught:
            datasets.load(path)
        assert "allow_pickle" not in str(caught.value)
