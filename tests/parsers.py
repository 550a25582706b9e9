"""All that reads bytes or text which others wrote: valid inputs, and how any bytes are given to it.

`test_parsers` and `benchmarks/fuzz.py` change the valid inputs, and hold what comes against what is documented.
"""

import contextlib
import gzip
import io
import json
import pathlib
import random
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import NamedTuple

import flax.serialization
import jax
import numpy as np
import official_files as files
import scipy.io
from absl import flags as absl_flags

import sam_jax as sj
from sam_jax import lab
from sam_jax.data import datasets, formats
from sam_jax.lab import flags, records

# What `flags.one_line_errors` turns into one line. A refusal must be one of them.
DOCUMENTED = (ValueError, OSError, ImportError, absl_flags.Error)
BOMB = 300_000_000  # bytes


class Parser(NamedTuple):
    """A parser.

    Attributes:
      valid: a folder that may be written to -> valid inputs.
      parse: (bytes, the folder) -> what the parser makes of them.
      inside: (bytes, change) -> the bytes with what is packed in them changed, and packed again.
      bomb: () -> bytes that unpack to far more than they should.
    """

    valid: Callable[[pathlib.Path], list[bytes]]
    parse: Callable[[bytes, pathlib.Path], object]
    inside: Callable[[bytes, Callable[[bytes], bytes]], bytes] | None = None
    bomb: Callable[[], bytes] | None = None


def written(folder: pathlib.Path, name: str, data: bytes) -> pathlib.Path:
    path = folder / name
    path.write_bytes(data)
    return path


def of_file(parse: Callable) -> Callable:
    """`parse(path)` as a function of bytes and a folder."""
    return lambda data, folder: parse(written(folder, "mine.npz", data))


# Images.


def idx_valid(folder):
    images, labels = files.examples(6, (4, 5, 1), 3)
    files.write_idx(folder / "labels", labels)
    return [gzip.compress(files.idx(images[..., 0])), files.idx(images[..., 0])]


def idx_parse(data, folder):
    images, labels = written(folder, "images", data), folder / "labels"
    return formats.idx([images, labels, images, labels])


def gzip_inside(data, change):
    plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    return gzip.compress(change(plain), compresslevel=1)


def tar_inside(data, change):
    """The tar archive changed, then its headers' checksums set right, or every bad one would end at the first."""
    changed = bytearray(change(gzip.decompress(data)))
    for start in range(0, len(changed) - 511, 512):
        if changed[start + 257 : start + 262] == b"ustar":
            changed[start + 148 : start + 156] = b" " * 8
            changed[start + 148 : start + 156] = b"%06o\0 " % sum(changed[start : start + 512])
    return gzip.compress(bytes(changed), compresslevel=1)


def cifar10_valid(folder):
    images, labels = files.examples(5, (32, 32, 3), 3)
    return [files.write_cifar10(folder / "valid", (images, labels), (images[:1], labels[:1])).read_bytes()]


def stl10_valid(folder):
    split = files.examples(1, (96, 96, 3), 1)
    return [files.write_stl10(folder / "valid", split, split).read_bytes()]


def tar_of_zeros():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
        info = tarfile.TarInfo("test_batch.bin")
        info.size = BOMB
        archive.addfile(info, io.BytesIO(bytes(BOMB)))
    return file.getvalue()


def svhn_valid(folder):
    split = files.examples(3, (32, 32, 3), 3)
    plain = io.BytesIO()
    scipy.io.savemat(plain, {"X": np.stack(list(split[0]), axis=-1), "y": split[1][:, None] + 1})
    return [files.write_svhn(folder / "valid", *split).read_bytes(), plain.getvalue()]


def mat_inside(data, change):
    """The compressed elements changed."""
    found, place = bytearray(data[:128]), 128
    while place + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, place)
        element = data[place + 8 : place + 8 + size]
        if kind == 15:
            element = zlib.compress(change(zlib.decompress(element)), 1)
        found += struct.pack("<II", kind, len(element)) + element
        place += 8 + size
    return bytes(found)


def mat_bomb():
    element = zlib.compress(bytes(BOMB), 1)
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(element)) + element


def npz_valid(folder):
    images, labels = files.examples(20, (4, 5, 1), 3)
    keras = io.BytesIO()
    np.savez(keras, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return [files.write_npz(folder / "valid.npz", (images, labels), (images, labels)).read_bytes(), keras.getvalue()]


def npz_inside(data, change):
    """The arrays' files changed, each with a right checksum."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)))
    return file.getvalue()


def npz_bomb():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in formats.REQUIRED:
            archive.writestr(f"{name}.npy", bytes(BOMB // 3))
    return file.getvalue()


# Trained circuits.


def trained_valid(folder):
    found = []
    for rule in (sj.sgd, sj.sam):
        circuit = rule((4, 3, 2))
        state = sj.init(circuit, jax.random.key(0))
        synapses, memory = (of_one_seed(part) for part in (state.synapses, state.memory))
        mean, std = np.zeros((1, 4), np.float32), np.ones((), np.float32)
        net = sj.Trained(rule, circuit, sj.losses.cross_entropy, synapses, memory, mean, std, (0,), np.zeros(1, bool))
        sj.save(folder / "valid", net)
        found.append((folder / "valid").read_bytes())
    return found


def of_one_seed(part):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[None], part)


def msgpack_inside(data, change):
    """The circuit's settings changed."""
    content = flax.serialization.msgpack_restore(data)
    content["circuit"] = json.loads(change(json.dumps(content["circuit"]).encode()))
    return flax.serialization.msgpack_serialize(content)


# Folders of runs.

CELL = {"title": "SGD", "tags": {}, "protocol": {"epochs": 2}, "circuit": {}, "numbers": {}}
ROW = {"dataset": "digits", "arm": "sgd", "seed": 0, "diverged": False, "seconds": 1.5, "test_accuracy": 0.5}
ROWS = [ROW | {"epoch": epoch} for epoch in range(3)]


def lines(rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def manifest_valid(folder):
    data = {"measure": "accuracy", "chance": {"accuracy": 10.0}, "published": {}}
    return [json.dumps({"kind": "experiment", "cells": {"digits": {"sgd": CELL}}, "data": {"digits": data}}).encode()]


def run_folder(folder, manifest, metrics):
    written(folder, records.MANIFEST, manifest)
    written(folder, records.METRICS, metrics)
    with contextlib.suppress(FileExistsError):  # that it is another run
        records.check(folder, "experiment", {"digits": {"sgd": CELL}})
    results = lab.Results.read(folder)
    return results, records.finished(results.manifest, results.rows) if "cells" in results.manifest else None


# Text.


def experiment(folder):
    own = (
        lab.Flag("factors", ["1", "2"], "numbers", flags.numbers()),
        lab.Flag("freeze", ["w@1"], "names", flags.among(("w@1", "v@2"), "pathway")),
        lab.Flag("width", 3, "a number", lower=1),
    )
    return lab.Experiment("mine", lambda options, dataset: {}, print, flags=own, rules=("sam",), configs=folder)


def flags_valid(folder):
    (folder / "recipes").mkdir(exist_ok=True)
    written(folder / "recipes", "theirs.cfg", b"--epochs=3\n")
    rest = ("--recipe=theirs", "--train_images=300", "--activation=tanh", "--gated=w,v", "--warmup_epochs=0.5")
    texts = [
        ("--rules=sgd,sam", "--rate_w=0.1", "--hidden_widths=20,30", "--downstream_widths=4,5", "--seeds=3"),
        ("--dataset=digits,mnist", "--batch_size=32", "--loss=mse", "--noconfigs", "--factors=0.5,2", *rest),
    ]
    return ["\n".join(text).encode() for text in texts]


def flags_parse(data, folder):
    text = data.decode("utf-8", "surrogateescape").split("\n")
    with contextlib.redirect_stdout(io.StringIO()):  # --help
        return flags.parse(experiment(folder), ["mine.py", *text])


def config_parse(data, folder):
    written(folder, "digits_sam.cfg", data)
    return flags.read_config(folder, "digits", sj.sam)


def recipe_parse(data, folder):
    (folder / "recipes").mkdir(exist_ok=True)
    written(folder / "recipes", "mine.cfg", data)
    with contextlib.redirect_stdout(io.StringIO()):
        return flags.parse(experiment(folder), ["mine.py", "--recipe=mine"])


def rule_valid(folder):
    path = written(folder, "own.py", b"import sam_jax as sj\nmine = sj.sgd.replace(name='mine')\n")
    return [f"{path}:mine".encode(), b"sam"]


def intervention_parse(data, folder):
    return sj.interventions.parse("freeze", data.decode("utf-8", "surrogateescape"))


PARSERS = {
    "idx": Parser(idx_valid, idx_parse, gzip_inside, lambda: gzip.compress(bytes(BOMB), 1)),
    "cifar10": Parser(cifar10_valid, of_file(lambda path: formats.cifar10_binary([path])), tar_inside, tar_of_zeros),
    "stl10": Parser(stl10_valid, of_file(lambda path: formats.stl10_binary([path])), tar_inside, tar_of_zeros),
    "svhn": Parser(svhn_valid, of_file(lambda path: formats.svhn_cropped([path, path])), mat_inside, mat_bomb),
    "npz": Parser(npz_valid, of_file(datasets.load), npz_inside, npz_bomb),
    "trained": Parser(trained_valid, of_file(sj.restore), msgpack_inside),
    "manifest": Parser(manifest_valid, lambda data, folder: run_folder(folder, data, lines(ROWS))),
    "metrics": Parser(
        lambda folder: [lines(ROWS)], lambda data, folder: run_folder(folder, manifest_valid(folder)[0], data)
    ),
    "flags": Parser(flags_valid, flags_parse),
    "config": Parser(lambda folder: [b"# found by hand\n--rate_w=0.1\n--decay=1e-4\n--momentum=0.9\n"], config_parse),
    "recipe": Parser(lambda folder: [b"--epochs=9\n--pixels=symmetric\n--hidden_widths=5\n"], recipe_parse),
    "rule": Parser(rule_valid, lambda data, folder: sj.rules.find(data.decode("utf-8", "surrogateescape"))),
    "intervention": Parser(lambda folder: [b"v_bar@10", b"w@0"], intervention_parse),
}

NUMBERS = (0, 1, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
WORDS = (
    *(b"0", b"-1", b"1e999", b"NaN", b"null", b"true", b"[]", b"{}", b'""', b"9" * 30, b"9" * 5000, b"\n", b",", b"@"),
    *(b"\0", b"\xff", "½".encode(), "٣".encode(), b"..", b"/", b"~nobody", b"[" * 3000, b'{"a":' * 3000, b"--", b"="),
    *(b"object", b"float16", b"(-1,)", b"(0,)", b"__class__", b"O8", b"\x93NUMPY", b"PK\x03\x04", b"\x1f\x8b\x08"),
)


def change(draw: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One to four changes: bits, spans left out or doubled, truncation, numbers, words, pieces of other inputs."""
    found = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        place, span = draw.randint(0, len(found)), draw.choice((1, 2, 4, 8, 16, 64, 512))
        kind = draw.randint(0, 7)
        if kind == 0 and place < len(found):
            found[place] ^= 1 << draw.randint(0, 7)
        elif kind == 1:
            del found[place : place + span]
        elif kind == 2:
            found[place:place] = found[place : place + span] * draw.randint(1, 9)
        elif kind == 3:
            del found[place:]
        elif kind == 4:
            size, order = draw.choice((1, 2, 4, 8)), draw.choice(("little", "big"))
            found[place : place + size] = (draw.choice(NUMBERS) % 256**size).to_bytes(size, order)
        elif kind == 5:
            word = draw.choice(WORDS)
            found[place : place + draw.choice((0, len(word)))] = word
        elif kind == 6:
            digits = [i for i in range(min(len(found), 4096)) if 48 <= found[i] <= 57]
            if digits:
                place = draw.choice(digits)
                found[place : place + 1] = draw.choice(WORDS[:14])
        elif others:
            other = draw.choice(others)
            start = draw.randint(0, len(other))
            found[place : place + draw.choice((0, span))] = other[start : start + draw.choice((span, len(other)))]
    return bytes(found)


def changed(draw: random.Random, parser: Parser, valid: list[bytes], others: list[bytes]) -> bytes:
    """A valid input changed, or what is packed in it."""
    data = draw.choice(valid)
    if parser.inside is not None and draw.randint(0, 2):
        with contextlib.suppress(Exception):  # it is packed otherwise, or what comes cannot be packed
            return parser.inside(data, lambda part: change(draw, part, others) if draw.randint(0, 1) else part)
    return change(draw, data, others)


def refusal(parser: Parser, data: bytes, folder: pathlib.Path) -> str | None:
    """The line that refuses these bytes, None where they are accepted; any undocumented exception passes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parser.parse(data, folder)
    except DOCUMENTED as error:
        line = str(error)
        if not isinstance(error, absl_flags.Error):  # whose lines are joined where they are shown
            assert line and "\n" not in line, f"{type(error).__name__} in several lines: {line!r}"
        return line or type(error).__name__
    return None
