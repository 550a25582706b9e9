"""A run's folder: what is written comes back, and a run that was cut short goes on where it was, or not at all."""

import json
import subprocess
import sys

import numpy as np
import official_files as files
import pytest

import sam_jax as sj
from sam_jax import lab, trained
from sam_jax.lab import records


def cell(epochs=2, **numbers):
    return {"rule": "sam", "protocol": {"epochs": epochs, "interventions": ()}, "numbers": {"decay": 0.1} | numbers}


def open_run(folder, cells, fixed=None, **facts):
    """An experiment's run, begun or continued; its folder."""
    records.open_run(folder, "experiment", cells, {}, fixed or {}, **facts)
    return folder


def check(folder, cells, **fixed):
    records.check(folder, "experiment", cells, **fixed)


CELLS = {"mine": {"sam": cell(), "V̄ frozen": cell()}}


def rows_of(arm, seed, epochs=2, dataset="mine"):
    """The rows of a run that got through so many epochs."""
    return [
        {"dataset": dataset, "arm": arm, "seed": seed, "epoch": epoch, "diverged": False, "test_loss": 0.1 + seed / 3}
        for epoch in range(epochs + 1)
    ]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_records_come_back_and_nothing_infinite_is_written(tmp_path):
    folder = open_run(tmp_path / "run", CELLS, flags={"epochs": 3})
    run = {"dataset": "mine", "arm": "sam", "seed": 0}
    records.append(folder, [{**run, "epoch": 1, "a": 1.5, "b": float("nan"), "c": [float("inf"), 2.0]}])
    records.append(folder, [{**run, "epoch": 2, "a": 2.5}])
    manifest, rows = records.read(folder)
    assert rows == [{**run, "epoch": 1, "a": 1.5, "b": None, "c": [None, 2.0]}, {**run, "epoch": 2, "a": 2.5}]
    assert manifest["flags"] == {"epochs": 3} and manifest["data"] == {}
    assert manifest["cells"] == json.loads(json.dumps(CELLS))
    assert {"command", "versions", "device", "processor", "git_revision", "started"} <= set(manifest)


def test_an_interrupted_run_is_read_up_to_its_last_whole_row(tmp_path):
    folder = open_run(tmp_path / "run", CELLS)
    records.append(folder, rows_of("sam", 0))
    with open(folder / records.METRICS, "a") as file:
        file.write('{"dataset": "mi')
    assert records.read(folder)[1] == rows_of("sam", 0)


def test_a_run_is_finished_when_its_last_epoch_is_there():
    manifest = {"cells": {"mine": {"sam": cell(2), "long": cell(3)}, "other": {"sam": cell(1)}}}
    rows = rows_of("sam", 0, 2) + rows_of("sam", 1, 1) + rows_of("long", 0, 2) + rows_of("sam", 1, 1, dataset="other")
    assert records.finished(manifest, rows) == {("mine", "sam", 0), ("other", "sam", 1)}
    assert records.run_of(rows[-1]) == ("other", "sam", 1)


def test_a_continued_run_keeps_finished_rows_byte_for_byte_and_drops_the_unfinished(tmp_path):
    folder = open_run(tmp_path / "run", CELLS, flags={"seeds": 2})
    records.append(folder, rows_of("sam", 0) + rows_of("sam", 1))
    finished = (folder / records.METRICS).read_bytes()
    records.append(folder, rows_of("V̄ frozen", 0, epochs=1))
    with open(folder / records.METRICS, "a") as file:
        file.write('{"dataset": "mine", "arm": "V̄ fro')
    started = records.read(folder)[0]["started"]
    open_run(folder, CELLS, flags={"seeds": 9})
    assert (folder / records.METRICS).read_bytes() == finished
    manifest, _ = records.read(folder)
    assert (manifest["started"], manifest["flags"]) == (started, {"seeds": 2})  # those it was begun with
    assert len(manifest["continued"]) == 1 and "command" in manifest["continued"][0]
    assert sorted(contents(folder)) == [records.MANIFEST, records.METRICS]
    open_run(folder, CELLS)
    assert len(records.read(folder)[0]["continued"]) == 2


def test_a_run_may_grow_by_arms_and_data_sets(tmp_path):
    folder = open_run(tmp_path / "run", CELLS)
    records.append(folder, rows_of("sam", 0))
    open_run(folder, {"mine": {"fa": cell()}, "other": {"sam": cell(5)}})
    manifest, rows = records.read(folder)
    held = {dataset: list(arms) for dataset, arms in manifest["cells"].items()}
    assert held == {"mine": ["sam", "V̄ frozen", "fa"], "other": ["sam"]}
    assert manifest["cells"]["other"]["sam"]["protocol"]["epochs"] == 5
    assert rows == rows_of("sam", 0)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (cell(9), "protocol.epochs is 2, now 9"),
        (cell(decay=0.2), "numbers.decay is 0.1, now 0.2"),
        (cell() | {"rule": "fa"}, "rule is sam, now fa"),
        (cell(rate=1.0), "numbers.rate is None, now 1.0"),
        (cell() | {"protocol": {"epochs": 2, "interventions": (("freeze", "v", 1),)}}, "protocol.interventions is []"),
    ],
)
def test_another_cell_is_refused_in_one_line_and_nothing_is_changed(changed, what, tmp_path):
    folder = open_run(tmp_path / "run", CELLS)
    records.append(folder, rows_of("sam", 0, epochs=1))  # unfinished, and kept all the same
    before = contents(folder)
    for refused in (check, open_run):
        with pytest.raises(FileExistsError) as caught:
            refused(folder, {"mine": {"fa": cell(), "V̄ frozen": changed}})
        line = str(caught.value)
        assert f"out_dir {folder} holds a run of mine, V̄ frozen whose {what}" in line and "\n" not in line
        assert line.endswith("give another folder, or the same flags")
    assert contents(folder) == before


def test_the_same_cells_may_be_continued(tmp_path):
    check(tmp_path / "new", CELLS)
    check(tmp_path, CELLS)  # an empty folder
    folder = open_run(tmp_path / "run", CELLS)
    before = contents(folder)
    check(folder, CELLS)
    assert contents(folder) == before and not (tmp_path / "new").exists()


def test_a_folder_that_holds_something_else_is_never_written_to(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    for refused in (check, open_run):
        with pytest.raises(FileExistsError, match="is not an empty folder: give another, or move it away"):
            refused(tmp_path, {})
    assert contents(tmp_path) == {"mine.txt": b"precious"}


def test_a_run_of_an_older_kind_is_not_continued(tmp_path):
    (tmp_path / records.MANIFEST).write_text('{"settings": {}}')
    (tmp_path / records.METRICS).write_text('{"rule": "sam"}\n')
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="names no kind of run: it is an older sam_jax's, or damaged: move the folder"):
        open_run(tmp_path, CELLS)
    assert contents(tmp_path) == before


def test_a_folder_without_records_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no manifest\.json: expected the folder of a run"):
        records.read(tmp_path)


def test_another_number_format_of_the_folder_is_refused_whatever_its_arms(tmp_path):
    folder = open_run(tmp_path / "run", CELLS, {"numerics": {"precision": "highest", "x64": False}})
    before = contents(folder)
    for cells in (CELLS, {"mine": {"fa": cell()}}):
        with pytest.raises(FileExistsError, match="holds an experiment whose x64 is False, now True"):
            check(folder, cells, numerics={"precision": "highest", "x64": True})
    check(folder, CELLS, numerics={"precision": "highest", "x64": False})
    assert contents(folder) == before


def test_a_run_of_another_kind_is_not_continued(tmp_path):
    folder = open_run(tmp_path / "run", CELLS)
    with pytest.raises(FileExistsError, match=r"holds a run of another kind \(experiment\): give another folder"):
        records.check(folder, "search", CELLS)


def test_trained_circuits_come_back_with_the_predictions_they_had(tmp_path):
    train, val, test = (files.examples(n, (2, 2, 1), 3, seed) for seed, n in enumerate((24, 6, 6)))
    files.write_npz(tmp_path / "mine.npz", train, test, val)
    data = sj.load(tmp_path / "mine.npz")
    net = sj.train(sj.sam, (4, 5, 3), data, seeds=(0, 1), epochs=1, batch_size=12, downstream_widths=(6,))
    sj.save(tmp_path / "sam.msgpack", net)
    back = sj.restore(tmp_path / "sam.msgpack")
    assert isinstance(back, trained.Trained) and back.circuit == net.circuit and back.rule == net.rule
    assert [w.shape for w in back.synapses.w] == [(2, 5, 4), (2, 3, 5)]
    for old, new in zip(net.synapses, back.synapses, strict=True):
        for a, b in zip(old, new, strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(back.predict(data.test.images), net.predict(data.test.images))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.npz", "sam.msgpack"]
    with pytest.raises(ValueError, match=r"expected uint8 \[N, ...\] with 4 pixels each"):
        back.predict(np.zeros((1, 5), np.uint8))


def test_a_folder_has_one_writer_and_nothing_is_left_of_one_that_wrote_nothing(tmp_path):
    folder = tmp_path / "new" / "run"
    with records.only_writer(folder):
        records.check(folder)  # the lock is no content
        with (
            pytest.raises(FileExistsError, match="in use by another process"),
            records.only_writer(folder),
        ):
            pass
        assert folder.is_dir()
    assert not list(tmp_path.iterdir())
    with records.only_writer(folder):
        (folder / "mine").touch()
    with records.only_writer(folder):
        pass
    assert [path.name for path in folder.iterdir()] == ["mine"]
    with (
        pytest.raises(FileExistsError, match="is not a folder: give another"),
        records.only_writer(folder / "mine"),
    ):
        pass


HOLD = """
import sys, time
from sam_jax.lab import records
with records.only_writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_writer_that_is_killed_holds_the_folder_no_longer(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FileExistsError, match="in use"), records.only_writer(tmp_path / "run"):
            pass
        holder.kill()
    with records.only_writer(tmp_path / "run"):
        pass


def test_of_two_rows_of_one_epoch_the_first_counts_and_it_is_said(tmp_path):
    row = {"dataset": "mine", "arm": "sgd", "seed": 0, "epoch": 1, "seconds": 1.0, "test_accuracy": 0.5}
    (tmp_path / "manifest.json").write_text('{"kind": "experiment", "cells": {}, "data": {}}')
    (tmp_path / "metrics.jsonl").touch()
    records.append(tmp_path, [row, row | {"seed": 1}, row | {"seconds": 2.0}])
    assert records.read(tmp_path)[1] == [row, row | {"seed": 1}]  # the same result, measured twice
    records.append(tmp_path, [row | {"test_accuracy": 0.75}])
    with pytest.warns(UserWarning, match="two rows of dataset mine, arm sgd, seed 0, epoch 1: the second is left out"):
        assert records.read(tmp_path)[1] == [row, row | {"seed": 1}]


def test_another_experiments_folder_is_neither_continued_nor_remade(tmp_path, capsys):
    """Its rows are finished runs of equal cells, but with other probes: the verdicts would be of nothing."""
    files.write_npz(tmp_path / "mine.npz", files.examples(36, (4, 3, 1), 3), files.examples(10, (4, 3, 1), 3, seed=1))
    folder = tmp_path / "out"

    def start(name, *given):
        one = lab.Experiment(name, lambda options, dataset: {"sgd": lab.Arm("sgd")}, lambda results: print(name))
        small = (
            f"--dataset={tmp_path / 'mine.npz'}",
            "--batch_size=16",
            "--epochs=1",
            "--seeds=1",
            "--hidden_widths=3",
        )
        lab.main(one, [f"{name}.py", *(given or (*small, f"--out_dir={folder}"))])

    start("theirs")
    before = contents(folder)
    for given in ((), (f"--remake={folder}",)):
        with pytest.raises(SystemExit, match=r"^other.py: .*out holds runs of theirs.py: "):
            start("other", *given)
    assert contents(folder) == before and "other" not in capsys.readouterr().out
    start("theirs", f"--remake={folder}")
