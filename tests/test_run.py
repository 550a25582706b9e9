"""Runs and their folder: what is there is not computed again, and stopping and going on gives what one go gives."""

import json
import os
import struct
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import official_files as files
import pytest
from tensorboardX.proto import event_pb2

import sam_jax as sj
from sam_jax import interventions, lab, training
from sam_jax.lab import board, flags, processes, records, tables

ARMS = {
    "sgd": lab.Arm("sgd"),
    "half": lab.Arm("sgd", "", {"widths": (2,)}, {"rate_w": 0.05}, {"batch_size": 8}),
}


def images(path, seed=0):
    """24, 6 and 6 images of 2 x 2 pixels, two classes."""
    splits = [files.examples(n, (2, 2, 1), 2, seed + place) for place, n in enumerate((24, 6, 6))]
    return files.write_npz(path, splits[0], splits[2], splits[1])


def experiment(arms=ARMS, probe=lab.arms.align, **defaults):
    """One whose arms are these, and that makes nothing of its results."""
    return lab.Experiment("mine", lambda options, dataset: arms, lambda results: None, probe=probe, defaults=defaults)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(folder, seeds=2, arms=ARMS, ...)` runs arms on one's own images: (the folder, which seeds were trained)."""
    images(tmp_path / "mine.npz")
    trained, plain = [], training.train

    def spy(protocol, numbers, data, seeds, resumed):
        trained.append(tuple(seeds))
        return plain(protocol, numbers, data, seeds, resumed)

    monkeypatch.setattr(training, "train", spy)

    def start(folder="out", arms=ARMS, probe=lab.arms.align, **given):
        trained.clear()
        given = {"seeds": "2", "epochs": "2", "batch_size": "12", "hidden_widths": "3"} | given
        given |= {"dataset": tmp_path / "mine.npz", "out_dir": tmp_path / folder}
        lab.main(experiment(arms, probe), ["mine.py", *(f"--{name}={value}" for name, value in given.items())])
        return tmp_path / folder, list(trained)

    return start


def test_the_first_row_of_a_diverged_run_names_the_epoch_and_the_pathway(run):
    arms = {"lost": lab.Arm("sgd", "", {}, {"rate_w": 1e6, "decay": 0.0}), "kept": lab.Arm("sgd")}
    folder, _ = run(arms=arms, seeds=1, epochs=4, warmup_epochs=0, evaluate_every=2)
    lost, kept = ([row for row in measured(folder) if row["arm"] == arm] for arm in arms)
    named = [{name: row[name] for name in row if name.startswith("diverged")} for row in lost]
    assert named == [
        {"diverged": False},
        {"diverged": True, "diverged_epoch": 1, "diverged_pathway": "w"},
        {"diverged": True},
    ]
    assert all("diverged_epoch" not in row and not row["diverged"] for row in kept)
    assert "lost, seed 0 diverged at epoch 1, W first" in lab.Results.read(folder).diverged_seeds()[0]


def test_a_deterministic_run_tells_xla_and_is_not_continued_as_another(run, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=1")
    folder, _ = run(epochs=1, deterministic="true")
    assert os.environ["XLA_FLAGS"].split() == ["--xla_force_host_platform_device_count=1", processes.DETERMINISTIC]
    assert records.read(folder)[0]["numerics"]["deterministic"] is True
    with pytest.raises(SystemExit, match="deterministic is True, now False"):
        run(epochs=1)


@pytest.mark.slow
def test_xla_knows_the_flag_of_determinism():
    """It ends a process whose flags it does not know."""
    for flag, knows in ((processes.DETERMINISTIC, True), ("--xla_no_such_flag=true", False)):
        command = [sys.executable, "-c", "import jax; jax.jit(lambda x: x + 1)(1)"]
        done = subprocess.run(command, capture_output=True, env=os.environ | {"XLA_FLAGS": flag})
        assert (done.returncode == 0) == knows


def test_tensorboard_shows_the_rows(run):
    """What the events say, read without the library that wrote them, is what the rows say."""
    probe = lambda job, data, synapses: {"norms": jnp.stack([jnp.linalg.norm(w) for w in synapses.w])}  # noqa: E731
    folder, _ = run(arms={"V̄ frozen": lab.Arm("sgd")}, probe=probe, seeds=2, tensorboard="true")
    rows = records.read(folder)[1]
    names = sorted(path.name for path in (folder / board.FOLDER).iterdir())
    assert len(names) == 2 and all(name.endswith(f"_seed{seed}") for seed, name in enumerate(names))
    for seed, name in enumerate(names):
        (path,) = (folder / board.FOLDER / name).iterdir()
        shown, histograms = events(path)
        for row in (row for row in rows if row["seed"] == seed):
            assert np.isclose(shown["accuracy/test", row["epoch"]], row["test_accuracy"], rtol=1e-6)
            assert np.isclose(shown["loss/train", row["epoch"]], row["train_loss"], rtol=1e-6)
            for layer, norm in enumerate(row["norms"], 1):
                assert np.isclose(shown[f"norms/layer_{layer}", row["epoch"]], norm, rtol=1e-6)
            assert histograms["norms", row["epoch"]] == len(row["norms"])


def events(path):
    """{(tag, step): number} and {(tag, step): count of a histogram} of a file of TensorBoard events.

    Its records are a length of 8 bytes, a checksum of 4, so many bytes, a checksum of 4.
    """
    content, scalars, histograms = path.read_bytes(), {}, {}
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = event_pb2.Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]
        for value in event.summary.value:
            kind = scalars if value.HasField("simple_value") else histograms
            kind[value.tag, event.step] = value.simple_value or value.histo.num
    return scalars, histograms


def lines(folder):
    return (folder / records.METRICS).read_bytes().splitlines(keepends=True)


def measured(folder):
    """The rows without their times, in the order of their runs."""
    rows = [row | {"seconds": None} for row in records.read(folder)[1]]
    return sorted(rows, key=lambda row: (*records.run_of(row), row["epoch"]))


def test_an_arm_reaches_what_is_trained_and_what_the_manifest_says(run):
    manifest, rows = records.read(run()[0])
    sgd, half = (manifest["cells"]["mine"][name] for name in ARMS)
    assert (sgd["circuit"]["widths"], half["circuit"]["widths"]) == ([4, 3, 2], [4, 2, 2])
    assert (sgd["numbers"]["rate_w"], half["numbers"]["rate_w"]) == (sj.sgd.numbers["rate_w"], 0.05)
    assert (sgd["protocol"]["batch_size"], half["protocol"]["batch_size"]) == (12, 8)
    assert (sgd["rule"], sgd["images"], sgd["protocol"]["loss"]) == ("sgd", 24, "cross_entropy")
    assert [records.run_of(row) for row in rows[:2]] == [("mine", "sgd", 0), ("mine", "sgd", 1)]
    assert len(rows) == 2 * 2 * 3 and manifest["data"]["mine"]["sizes"] == {"train": 24, "val": 6, "test": 6}


@pytest.mark.slow
def test_the_auc_of_ones_own_images_is_measured_when_asked_for(run):
    plain, _ = run()
    assert not any("test_auc" in row for row in records.read(plain)[1])
    results = lab.Results.read(run("asked", auc="true")[0])
    assert all(0 <= row[f"{split}_auc"] <= 1 for row in results.rows for split in ("train", "val", "test"))
    assert results.chance("mine", "auc") == 50 and results.measure("mine") == "accuracy"
    assert [entry["arm"] for entry in tables.summarise(results, "auc")] == list(ARMS)
    with pytest.raises(SystemExit, match=r"protocol\.auc is False, now True: give another folder, or the same flags"):
        run(auc="true")


def test_an_auc_that_is_undefined_is_said_and_stands_as_a_dash(run, tmp_path, capsys):
    with np.load(tmp_path / "mine.npz") as file:
        np.savez(tmp_path / "mine.npz", **{**file, "test_labels": np.zeros_like(file["test_labels"])})
    results = lab.Results.read(run(auc="true")[0])
    said = capsys.readouterr().err
    assert "mine: no AUC on test, where all labels are alike: a dash in the tables" in said
    assert all(row["test_auc"] is None and row["train_auc"] is not None for row in results.rows)
    entry = tables.summarise(results, "auc")[0]
    assert tables.cells(entry, "SGD")[1] == "–" and entry["diverged"] == 0


def test_more_seeds_train_the_missing_ones_alone_and_give_what_one_go_gives(run):
    folder, trained = run(seeds="2")
    assert trained == [(0, 1), (0, 1)]
    before = lines(folder)
    assert run(seeds="2") == (folder, []) and lines(folder) == before
    _, trained = run(seeds="3")
    assert trained == [(2,), (2,)]  # a single seed of each arm
    assert lines(folder)[: len(before)] == before
    at_once, _ = run("whole", seeds="3")
    assert measured(folder) == measured(at_once)
    assert run(seeds="1")[1] == []  # fewer take nothing away
    assert measured(folder) == measured(at_once)


def test_a_new_arm_is_trained_and_the_others_are_not(run):
    folder, _ = run(arms={"sgd": ARMS["sgd"]})
    before = lines(folder)
    _, trained = run(arms=ARMS)
    assert trained == [(0, 1)] and lines(folder)[: len(before)] == before
    assert measured(folder) == measured(run("whole")[0])


def test_an_interrupted_file_is_repaired(run):
    """A kill in the second arm's last epoch: one seed's last row is cut short, the other's is whole."""
    folder, _ = run()
    whole, rows = measured(folder), lines(folder)
    (folder / records.METRICS).write_bytes(b"".join(rows[:-1]) + rows[-1][:30])
    _, trained = run()
    assert trained == [(1,)]  # of the second arm; seed 0 had finished
    assert measured(folder) == whole
    assert lines(folder)[: len(rows) - 3] == [row for row in rows if b'"half", "seed": 1' not in row]


def test_an_unfinished_epoch_begins_again_from_the_start(run):
    folder, _ = run()
    whole, rows = measured(folder), lines(folder)
    (folder / records.METRICS).write_bytes(b"".join(rows[:8]))  # half's first evaluation only
    _, trained = run()
    assert trained == [(0, 1)] and lines(folder)[:6] == rows[:6] and measured(folder) == whole


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"epochs": "5"}, "mine, sgd whose protocol.epochs is 2, now 5"),
        ({"rate_w": "0.25"}, f"mine, sgd whose numbers.rate_w is {sj.sgd.numbers['rate_w']:g}, now 0.25"),
        ({"train_images": "20"}, "mine, sgd whose images is 24, now 20"),
        ({"hidden_widths": "4"}, "mine, sgd whose circuit.widths is [4, 3, 2], now [4, 4, 2]"),
    ],
)
def test_another_setting_is_refused_in_one_line_and_nothing_on_disk_changes(change, line, run, tmp_path):
    folder, _ = run(arms={"sgd": ARMS["sgd"]})
    rows = lines(folder)
    (folder / records.METRICS).write_bytes(b"".join(rows[:-1]))  # unfinished, and still not touched
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SystemExit) as caught:
        run(arms={"sgd": ARMS["sgd"]}, **change)
    message = str(caught.value)
    assert f"holds a run of {line}: give another folder, or the same flags" in message and "\n" not in message
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_other_images_of_the_same_name_are_refused_and_nothing_on_disk_changes(run, tmp_path):
    folder, _ = run()
    (folder / records.METRICS).write_bytes(b"".join(lines(folder)[:-1]))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    images(tmp_path / "mine.npz", seed=1)
    for arms in (ARMS, {"another": ARMS["half"]}):
        with pytest.raises(SystemExit, match="holds runs on other images called mine: give another folder"):
            run(arms=arms)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_another_precision_is_refused_and_nothing_on_disk_changes(run):
    folder, _ = run()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SystemExit, match="holds an experiment whose precision is highest, now BF16_BF16_F32"):
        run(arms={"another": ARMS["half"]}, precision="BF16_BF16_F32")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_probe_adds_its_columns_at_every_evaluation_under_interventions_too(run):
    """The probe is given the synapses: 0.5 ‖W‖² of the silenced top of a net by hand, from the saved matrices."""
    begun = (interventions.parse("lesion", "w@1"),)
    arms = {"cut": lab.Arm("sgd", protocol={"interventions": begun, "evaluate_every": 2})}
    folder, _ = run(arms=arms, probe=squares, epochs="3", save_synapses="true")
    manifest, rows = records.read(folder)
    seed0 = [row for row in rows if row["seed"] == 0]
    assert [row["epoch"] for row in seed0] == [0, 1, 2, 3]  # 1: when it begins; 3: the last
    assert [row["squares"] > 0 for row in seed0] == [True, True, False, False]
    assert manifest["cells"]["mine"]["cut"]["protocol"]["interventions"] == [["lesion", "w", 1]]
    saved = sj.restore(folder / "mine_cut.msgpack")
    assert [w.shape for w in saved.synapses.w] == [(2, 3, 4), (2, 2, 3)]
    assert not any(w.any() for w in saved.synapses.w)


def squares(job, data, synapses):
    """½ ‖W‖², of everything that is given."""
    assert job.rule is sj.sgd and set(data.splits) == {"train", "val", "test"}
    return {"squares": sum((w**2).sum() for w in synapses.w) / 2}


def test_an_experiments_defaults_give_way_to_the_command_line():
    mine = experiment(epochs=7, dataset=["digits"], seeds=3)
    options = flags.parse(mine, ["mine.py", "--seeds=4"])
    assert (options.epochs, options.dataset, options.seeds) == (7, ("digits",), 4)


def test_facts_tell_the_trivial_predictor_by_hand(tmp_path, run):
    folder, _ = run(arms={"sgd": ARMS["sgd"]}, epochs="1")
    facts = records.read(folder)[0]["data"]["mine"]
    assert facts["chance"] == {"accuracy": 50.0} and facts["classes"] == 2 and facts["shape"] == [2, 2, 1]
    assert json.loads((folder / records.MANIFEST).read_text())["flags"]["epochs"] == 1


def test_synapses_that_are_asked_for_too_late_are_refused_and_a_new_folder_has_them(run):
    folder, _ = run(arms={"sgd": ARMS["sgd"]})
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SystemExit, match="has runs of sgd that ended without --save_synapses: give another folder"):
        run(arms={"sgd": ARMS["sgd"]}, save_synapses="true")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    again, _ = run("new", arms={"sgd": ARMS["sgd"]}, save_synapses="true")
    assert (again / "mine_sgd.msgpack").is_file()
    assert run("new", arms={"sgd": ARMS["sgd"]}, save_synapses="true", seeds="3")[1] == [(2,)]


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (
            KeyboardInterrupt(),
            130,
            "mine.py: interrupted; what is done is in {folder}: the same command with --out_dir",
        ),
        (OSError(28, "No space left on device"), None, "No space left on device: what was done before is in {folder}"),
    ],
    ids=["Ctrl-C", "a full disk"],
)
def test_what_ends_a_run_from_outside_is_one_line_and_what_is_done_stays(
    error, status, line, run, tmp_path, monkeypatch, capsys
):
    plain = records.append

    def fail(folder, rows, part=None):
        if rows[0]["epoch"] == 2:
            raise error
        plain(folder, rows, part)

    with monkeypatch.context() as patch:
        patch.setattr(records, "append", fail)
        with pytest.raises(SystemExit) as ended:
            run()
    folder = tmp_path / "out"
    said = capsys.readouterr().err + str(ended.value.code)
    assert line.format(folder=folder) in said and "Traceback" not in said
    assert status is None or ended.value.code == status
    assert {row["epoch"] for row in records.read(folder)[1]} == {0, 1}
    run()
    assert measured(folder) == measured(run("whole")[0])


def test_rules_whose_files_would_have_one_name_are_refused(run):
    arms = {"fa-x": lab.Arm("fa"), "fa_x": lab.Arm("fa")}
    with pytest.raises(SystemExit, match="fa-x and fa_x would both write files called mine_fa_x: rename one"):
        run(arms=arms)


def test_nothing_to_train_is_one_line(run, tmp_path):
    with pytest.raises(SystemExit, match="--rules is empty and leaves nothing to train"):
        run(arms={})
    assert not (tmp_path / "out").exists()


def test_synapses_of_an_arm_whose_name_begins_alike_are_not_its_own(run):
    run(arms={"fa": lab.Arm("fa")})
    run(arms={"fa_x": lab.Arm("fa")}, save_synapses=True)
    with pytest.raises(SystemExit, match="has runs of fa that ended without --save_synapses"):
        run(arms={"fa": lab.Arm("fa")}, save_synapses=True)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"decay_v": 0.5}, "--decay_v: this pathway is plastic in none of the rules here"),
        ({"momentum_kept": 0.5}, "--momentum_kept needs a momentum"),
    ],
)
def test_a_number_that_changes_nothing_is_refused(given, line, run):
    with pytest.raises(SystemExit, match=line):
        run(arms={"sgd": lab.Arm("sgd")}, **given)


def test_only_those_who_run_at_defaults_are_told_of_tuning(run, capsys):
    run("own", arms={"sgd": lab.Arm("sgd", numbers={"rate_w": 0.0123})})
    assert "no numbers were searched" not in capsys.readouterr().err
    run("defaults", arms={"sgd": lab.Arm("sgd")})
    assert "no numbers were searched here for sgd" in capsys.readouterr().err
