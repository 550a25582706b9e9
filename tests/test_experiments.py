"""Table 1 as a user runs it, for two steps, and goes on with it; and every wrong flag before anything is made."""

import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys

import commands
import numpy as np
import pytest

from sam_jax import lab
from sam_jax.experiments import table1 as experiment
from sam_jax.experiments import verdicts

SCRIPTS = pathlib.Path(__file__).parent.parent / "experiments"


def run(script, *arguments, cwd):
    return commands.start(SCRIPTS / script, *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A user's own file: two steps of 16 images, three classes, 4 x 3 pixels of two channels."""
    path = tmp_path_factory.mktemp("images") / "mine.npz"
    random = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 36), ("test", 10)):
        arrays[f"{split}_images"] = random.integers(256, size=(n, 4, 3, 2), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(n) % 3).astype(np.uint8)
    np.savez(path, **arrays)
    return path


SMALL = ("--epochs=1", "--batch_size=16", "--seeds=2", "--hidden_widths=6,5")
OF_TABLE1 = ("--downstream_widths=7,4", "--scale_w=1", "--out_dir=out", *SMALL)  # of the run that the tests share


@pytest.fixture(scope="module")
def table1(images, tmp_path_factory):
    """A finished run of table1.py on the user's own images."""
    cwd = tmp_path_factory.mktemp("table1")
    done = run(
        "table1.py",
        f"--dataset={images}",
        *OF_TABLE1,
        "--save_synapses",
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return done, cwd / "out"


def test_table1_prints_a_table_and_leaves_its_records(table1):
    done, folder = table1
    for title in ("SGD", "Feedback Alignment", "Weight Mirroring", "Kolen–Pollack", "SAM"):
        assert title in done.stdout
    names = {"manifest.json", "metrics.jsonl", "table.md", "table.csv", "curves.png", "verdicts.json"}
    synapses = {f"mine_{rule}.msgpack" for rule in ("sgd", "fa", "wm", "kp", "sam")}
    assert {path.name for path in folder.iterdir()} == names | synapses
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 5 * 2 * 2  # rules, seeds, epochs 0 and 1
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["data"]["mine"]["sizes"] == {"train": 33, "val": 3, "test": 10}
    assert len(manifest["data"]["mine"]["sha256"]["test_images"]) == 64
    with open(folder / "table.csv", newline="") as file:
        assert [entry["arm"] for entry in csv.DictReader(file)] == ["sgd", "fa", "wm", "kp", "sam"]


def test_table1_compares_every_rule_with_sgd_and_judges_the_claim(table1):
    done, folder = table1
    text = (folder / "table.md").read_text()
    for title in ("Feedback Alignment", "Weight Mirroring", "Kolen–Pollack", "SAM"):
        assert f"\n- mine: {title} − SGD: " in text and f"mine: {title} − SGD: " in done.stdout
    assert verdicts.read(folder) == []  # the paper's claim is about its own sets
    found = experiment.judge(lab.Results.read(folder), "mine")
    assert [verdict.claim for verdict in found] == ["table1", "table1"]
    assert [verdict.ours.count("SAM − ") for verdict in found] == [1, 3]  # SGD; FA, WM and KP
    assert {verdict.setting for verdict in found} == {"mine (33 training images), 1 epochs, 2 seeds"}


def copied(folder, cwd):
    shutil.copytree(folder, cwd / "out")
    return cwd / "out"


def test_a_second_start_computes_nothing_again(table1, images, tmp_path):
    folder = copied(table1[1], tmp_path)
    before = {name: (folder / name).read_bytes() for name in ("metrics.jsonl", "table.csv", "verdicts.json")}
    done = run("table1.py", f"--dataset={images}", *OF_TABLE1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_going_on_with_more_epochs_is_refused_in_one_line(table1, images, tmp_path):
    folder = copied(table1[1], tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = run("table1.py", f"--dataset={images}", *OF_TABLE1, "--epochs=2", cwd=tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "out_dir out holds a run of mine, sgd whose protocol.epochs is 1, now 2" in done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_rules_share_their_initial_forward_weights(table1):
    """The same seed gives every rule the same W, so their losses before training are equal."""
    rows = [json.loads(line) for line in (table1[1] / "metrics.jsonl").read_text().splitlines()]
    for seed in (0, 1):
        first = {row["test_loss"] for row in rows if row["seed"] == seed and row["epoch"] == 0}
        assert len(first) == 1


def test_the_table_is_made_again_from_the_rows_alone(table1):
    _, folder = table1
    files = [folder / name for name in ("table.md", "table.csv")]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    done = run("table1.py", f"--remake={folder}", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert [file.read_bytes() for file in files] == before


@pytest.mark.slow
def test_multi_label_images_are_measured_by_auc_too(tmp_path):
    random = np.random.default_rng(1)
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = random.integers(256, size=(40, 3, 3, 1), dtype=np.uint8)
        arrays[f"{split}_labels"] = random.integers(2, size=(40, 4)).astype(np.uint8)
    np.savez(tmp_path / "labels.npz", **arrays)
    done = run("table1.py", "--dataset=labels.npz", "--out_dir=out", "--rules=sgd,sam", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "macro AUC" in done.stdout and (tmp_path / "out" / "auc.csv").is_file()
    last = json.loads((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 <= last["test_auc"] <= 1


WRONG = [
    (("--rules=sgd,smm",), "rule 'smm' is unknown (did you mean sam?), expected one of sgd, fa, wm, kp, sam, dfa"),
    (("--dataset=cifar",), "unknown data set 'cifar'; nearest: cifar10"),
    (("--dataset=missing.npz",), "missing.npz: expected an npz file, found none"),
    (("--hidden_widths=20,-3",), "--hidden_widths has '-3', expected positive whole numbers, as in 200,200,200"),
    (("--downstream_widths=20",), "downstream_widths has 1 entries, expected 3 (one for each hidden layer)"),
    (
        ("--rules=sgd,fa", "--downstream_widths=9,9,9"),
        "--downstream_widths: no rule here (sgd, fa) has downstream neurons of its own: leave it out",
    ),
    (("--epochs=0",), "flag --epochs=0: 0 is not a positive integer"),
    (("--train_images=1296",), "--train_images is 1296, but digits has 1295 training images"),
    (("--activation=swish",), "expected one of relu|leaky_relu|tanh|sigmoid|gelu|linear"),
    (("--rate_w=-1",), "flag --rate_w=-1"),
    (("--rate_u=1",), "Unknown command line flag 'rate_u'"),
    (("cifar10",), "'cifar10' is no flag: flags begin with --, as in --dataset=cifar10"),
    (("--remake=nowhere",), "nowhere has no manifest.json: expected the folder of a run"),
    (
        ("--dataset=digits,chestmnist", "--loss=cross_entropy"),
        "--loss=cross_entropy needs one label for each image, chestmnist has several",
    ),
    (("--batch_size=1296",), "batch_size is 1296, expected at most the 1295 training images of digits"),
    (("--hidden_widths=1000000,1000000,1000000",), "are free: use narrower streams"),
    (("--out_dir=full",), "out_dir full is not an empty folder: give another, or move it away"),
]


@pytest.mark.parametrize(("arguments", "line"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_a_wrong_flag_gets_one_clear_line_and_makes_nothing(arguments, line, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("precious")
    done = run("table1.py", *arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert line in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2  # absl adds a line on --help
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["full", "full/mine.txt"]


def test_two_files_of_one_name_are_not_mixed(images, tmp_path):
    (tmp_path / "mine.npz").write_bytes(images.read_bytes())
    done = run("table1.py", f"--dataset={images},mine.npz", "--batch_size=16", "--out_dir=out", cwd=tmp_path)
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    assert "two data sets are called mine, their results would mix: rename one of the files" in done.stderr


def test_a_missing_data_set_ends_the_run_before_any_training(images, tmp_path):
    """A damaged archive is found before the first rule is trained on the set that precedes it."""
    (tmp_path / "cifar10.npz").write_bytes(b"no zip")
    flags = ("--data_dir=.", "--out_dir=out", *SMALL)
    done = run("table1.py", f"--dataset={images},cifar10", *flags, cwd=tmp_path)
    assert done.returncode == 1 and "cifar10.npz" in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_ones_own_images_are_checked_before_anything_is_made(images, tmp_path):
    done = run("table1.py", f"--dataset=digits,{images}", "--batch_size=100", "--out_dir=out", cwd=tmp_path)
    assert done.returncode == 1
    assert "batch_size is 100, expected at most the 33 training images of mine" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()


def test_a_device_that_is_not_there_gets_one_line_and_makes_nothing(tmp_path):
    command = [sys.executable, SCRIPTS / "table1.py", "--out_dir=out"]
    environment = os.environ | {"JAX_PLATFORMS": "nonsense"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "JAX finds no device of JAX_PLATFORMS=nonsense" in done.stderr and "JAX_PLATFORMS=cpu" in done.stderr
    assert not list(tmp_path.iterdir())
