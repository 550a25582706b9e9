"""Records, tables and figures: what is written comes back, and every number in a table can be redone by hand."""

import csv
import math

import chex
import jax
import pytest

import sam_jax as sj
from sam_jax import figures, records, tables


def row(seed, epoch, test, arm="sam", dataset="cifar10", **fields):
    lost = test is None
    train, val = (None, None) if lost else (test + 0.2, test + 0.1)
    accuracies = {"test_accuracy": test, "train_accuracy": train, "val_accuracy": val}
    start = {"dataset": dataset, "arm": rule, "seed": seed, "epoch": epoch, "diverged": lost, "seconds": 1.5}
    return start | accuracies | fields


# Three seeds, two epochs; the third diverges in the last one.
ROWS = [row(0, 1, 0.30), row(1, 1, 0.32), row(2, 1, 0.31), row(0, 2, 0.50), row(1, 2, 0.54), row(2, 2, None)]
FACTS = {"sizes": {"train": 45000, "val": 5000, "test": 10000}, "trivial_test": 10.0}
MANIFEST = {
    "command": "experiments/table1.py --dataset=cifar10",
    "started": "2026-01-02T03:04:05Z",
    "versions": {"jax": "1.2.3", "python": "3.12.0"},
    "device": {"kind": "cpu", "platform": "cpu", "count": 1},
    "processor": {"name": "A Processor", "cores": 2},
    "data": {"cifar10": FACTS},
}


def test_a_summary_by_hand():
    (entry,) = tables.summarise(ROWS)
    assert tuple(entry) == tables.COLUMNS
    assert (entry["runs"], entry["diverged"], entry["epochs"]) == (3, 1, 2)
    assert math.isclose(entry["test_mean"], 52.0) and math.isclose(entry["test_sd"], math.sqrt(8))
    assert math.isclose(entry["train_mean"], 72.0) and math.isclose(entry["val_mean"], 62.0)
    assert entry["paper"] == 51.91 and entry["seconds"] == 9.0


def test_one_run_has_no_spread_and_no_run_no_mean():
    (one,) = tables.summarise([row(0, 1, 0.5)])
    assert one["test_mean"] == 50.0 and one["test_sd"] is None
    (none,) = tables.summarise([row(0, 1, None), row(1, 1, None)])
    assert none["test_mean"] is None and none["diverged"] == 2
    assert tables.cells(none)[1] == "–" and tables.cells(none)[5] == "0/2"


def test_the_csv_has_the_columns_and_empty_cells_where_there_is_no_number(tmp_path):
    tables.write_csv(tmp_path / "t.csv", tables.summarise([row(0, 1, 0.5, dataset="digits")]))
    with open(tmp_path / "t.csv", newline="") as file:
        header, values = csv.reader(file)
    columns = "dataset,rule,runs,diverged,epochs,train_mean,train_sd,val_mean,val_sd,test_mean,test_sd,paper,seconds"
    assert ",".join(header) == columns
    expected = ["digits", "sam", "1", "0", "1", "70.0000", "", "60.0000", "", "50.0000", "", "", "1.5000"]
    assert values == expected


def test_the_markdown_compares_with_the_paper_and_names_what_diverged():
    text = tables.markdown(MANIFEST, ROWS)
    assert "| SAM | 52.00 ± 2.83 | 72.00 ± 2.83 | 51.91 | +0.09 | 2/3 | 9 s |" in text
    assert "cifar10, SAM, seed 2 diverged at epoch 2" in text
    assert "A Processor, 2 cores, with jax 1.2.3 and Python 3.12.0" in text
    assert "45,000 train, 5,000 val, 10,000 test" in text and "10.00 %" in text


def test_the_papers_number_stands_beside_the_measure_it_is_read_as():
    chest = [row(0, 1, 0.95, dataset="chestmnist", test_auc=0.7, train_auc=0.8, val_auc=0.75)]
    (accuracy,), (auc,) = tables.summarise(chest), tables.summarise(chest, "auc")
    assert accuracy["paper"] is None and auc["paper"] == 73.21
    assert math.isclose(auc["test_mean"], 70.0) and math.isclose(accuracy["test_mean"], 95.0)
    assert tables.summarise(ROWS, "auc") == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (59, "59 s"), (60, "1:00"), (309, "5:09"), (3909, "1:05:09"), (3600, "1:00:00")]
)
def test_clock(seconds, text):
    assert tables.clock(seconds) == text


def test_records_come_back_and_nothing_infinite_is_written(tmp_path):
    folder = records.create(tmp_path / "run", {"flags": {"epochs": 3}})
    records.append(folder, [{"a": 1.5, "b": float("nan"), "c": [float("inf"), 2.0]}])
    records.append(folder, [{"a": 2.5}])
    manifest, rows = records.read(folder)
    assert rows == [{"a": 1.5, "b": None, "c": [None, 2.0]}, {"a": 2.5}]
    assert manifest["flags"] == {"epochs": 3}
    assert {"command", "versions", "device", "processor", "git_revision", "started"} <= set(manifest)


def test_an_interrupted_run_is_read_up_to_its_last_whole_row(tmp_path):
    folder = records.create(tmp_path / "run", {})
    records.append(folder, ROWS[:4])  # the second epoch has only its first seed
    with open(folder / records.METRICS, "a") as file:
        file.write('{"dataset": "cif')
    _, rows = records.read(folder)
    assert rows == ROWS[:4]
    (entry,) = tables.summarise(rows)
    assert entry["epochs"] == 1 and math.isclose(entry["test_mean"], 31.0) and entry["runs"] == 3


def test_a_folder_that_holds_something_is_never_written_to(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="is not an empty folder: give another, or move it away"):
        records.create(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_without_records_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no manifest\.json: expected the folder of a run"):
        records.read(tmp_path)


def test_synapses_come_back_and_only_into_their_own_circuit(tmp_path):
    circuit = sj.sam((5, 4, 3), (6,))
    both = jax.vmap(lambda key: sj.init(circuit, key).synapses)(jax.random.split(jax.random.key(0), 2))
    records.save_synapses(tmp_path / "sam.msgpack", both)
    chex.assert_trees_all_equal(records.load_synapses(tmp_path / "sam.msgpack", circuit), jax.device_get(both))
    assert [path.name for path in tmp_path.iterdir()] == ["sam.msgpack"]
    with pytest.raises(ValueError, match=r"holds w of shapes \(\(4, 5\), \(3, 4\)\), expected"):
        records.load_synapses(tmp_path / "sam.msgpack", sj.sam((5, 7, 3), (6,)))
    with pytest.raises(ValueError, match="holds no synapses of this circuit"):
        records.load_synapses(tmp_path / "sam.msgpack", sj.sam((5, 4, 4, 3)))


def test_curves_draw_each_rules_mean_and_stop_where_all_seeds_are_lost(tmp_path, monkeypatch):
    drawn = {}
    plain = figures._curve

    def spy(axis, rule, rows, column):
        low = plain(axis, rule, rows, column)
        drawn[rule, column] = axis.lines[-1].get_xydata().tolist()
        return low

    monkeypatch.setattr(figures, "_curve", spy)
    lost = [row(0, 1, 0.2, arm="fa"), row(0, 2, None, arm="fa")]
    figures.curves(tmp_path / "curves.png", ROWS + lost)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [[e, round(y, 9)] for e, y in drawn["sam", "test_accuracy"]] == [[1, 31.0], [2, 52.0]]
    assert drawn["fa", "test_accuracy"] == [[1, 20.0]]
