"""Tables and figures: every number in a table can be redone by hand, and no two arms look alike."""

import csv
import math
import pathlib

import pytest

import sam_jax as sj
from sam_jax.experiments import paper
from sam_jax.lab import figures, tables
from sam_jax.lab.results import Results


def row(seed, epoch, test, arm="sam", dataset="cifar10", **fields):
    lost = test is None
    train, val = (None, None) if lost else (test + 0.2, test + 0.1)
    accuracies = {"test_accuracy": test, "train_accuracy": train, "val_accuracy": val}
    start = {"dataset": dataset, "arm": arm, "seed": seed, "epoch": epoch, "diverged": lost, "seconds": 1.5}
    return start | accuracies | fields


# Three seeds, two epochs; the third diverges in the last one.
ROWS = [row(0, 1, 0.30), row(1, 1, 0.32), row(2, 1, 0.31), row(0, 2, 0.50), row(1, 2, 0.54), row(2, 2, None)]
FACTS = {"sizes": {"train": 45000, "val": 5000, "test": 10000}}
MANIFEST = {
    "command": "experiments/table1.py --dataset=cifar10",
    "started": "2026-01-02T03:04:05Z",
    "versions": {"jax": "1.2.3", "python": "3.12.0"},
    "device": {"kind": "cpu", "platform": "cpu", "count": 1},
    "processor": {"name": "A Processor", "cores": 2},
}


def results(rows, folder=pathlib.Path("run")):
    """A run's results whose manifest is as a run would leave it; a data set with an AUC is judged by it."""
    data, cells = {}, {}
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        measures = ["accuracy"] + ["auc"] * any("test_auc" in row for row in rows if row["dataset"] == dataset)
        arms = dict.fromkeys(row["arm"] for row in rows if row["dataset"] == dataset)
        published = {m: {arm: paper.published(dataset, arm, m) for arm in arms} for m in measures}
        published = {m: {arm: v for arm, v in found.items() if v is not None} for m, found in published.items()}
        chance = {"accuracy": 10.0, "auc": 50.0}
        data[dataset] = FACTS | {"measure": measures[-1], "chance": {m: chance[m] for m in measures}}
        data[dataset] |= {"published": published, "remark": paper.REMARKS.get(dataset, "")}
        cells[dataset] = {arm: {"title": sj.RULES[arm].title if arm in sj.RULES else arm} for arm in arms}
    return Results(folder, MANIFEST | {"data": data, "cells": cells}, rows)


def test_a_summary_by_hand():
    (entry,) = tables.summarise(results(ROWS))
    assert tuple(entry) == tables.COLUMNS
    assert (entry["runs"], entry["diverged"], entry["epochs"]) == (3, 1, 2)
    assert math.isclose(entry["test_mean"], 52.0) and math.isclose(entry["test_sd"], math.sqrt(8))
    assert math.isclose(entry["train_mean"], 72.0) and math.isclose(entry["val_mean"], 62.0)
    assert entry["paper"] == 51.91 and entry["seconds"] == 9.0


def test_no_number_mixes_epochs():
    """A seed that was stopped before the others' last epoch is left out, of tables and of differences."""
    rows = [row(seed, epoch, 0.1 * seed + 0.2 * epoch) for seed in (0, 1) for epoch in (1, 2)] + [row(2, 1, 0.9)]
    found = results(rows)
    (entry,) = tables.summarise(found)
    assert (entry["runs"], entry["epochs"]) == (2, 2) and math.isclose(entry["test_mean"], 45.0)
    assert found.final("cifar10", "sam").keys() == {0, 1}
    assert found.setting("cifar10").endswith("2 epochs, 2 seeds")


def test_one_run_has_no_spread_and_no_run_no_mean():
    (one,) = tables.summarise(results([row(0, 1, 0.5)]))
    assert one["test_mean"] == 50.0 and one["test_sd"] is None
    (none,) = tables.summarise(results([row(0, 1, None), row(1, 1, None)]))
    assert none["test_mean"] is None and none["diverged"] == 2
    assert tables.cells(none, "SAM")[1] == "–" and tables.cells(none, "SAM")[5] == "0/2"


def test_the_csv_has_the_columns_and_empty_cells_where_there_is_no_number(tmp_path):
    tables.write_csv(tmp_path / "t.csv", tables.summarise(results([row(0, 1, 0.5, dataset="digits")])))
    with open(tmp_path / "t.csv", newline="") as file:
        header, values = csv.reader(file)
    columns = "dataset,arm,runs,diverged,epochs,train_mean,train_sd,val_mean,val_sd,test_mean,test_sd,paper,seconds"
    assert ",".join(header) == columns
    expected = ["digits", "sam", "1", "0", "1", "70.0000", "", "60.0000", "", "50.0000", "", "", "1.5000"]
    assert values == expected


def test_the_markdown_compares_with_the_paper_and_names_what_diverged():
    text = tables.markdown(results(ROWS))
    assert "| SAM | 52.00 ± 2.83 | 72.00 ± 2.83 | 51.91 | +0.09 | 2/3 | 9 s |" in text
    assert "cifar10, SAM, seed 2 diverged at epoch 2" in text
    assert "A Processor, 2 cores, with jax 1.2.3 and Python 3.12.0" in text
    assert "45,000 train, 5,000 val, 10,000 test" in text and "10.00 %" in text


def test_a_diverged_run_is_named_with_its_own_epoch_and_pathway_where_the_row_has_them():
    known = row(2, 4, None) | {"diverged_epoch": 3, "diverged_pathway": "w_bar"}
    found = results([row(2, 6, None), known]).diverged_seeds()
    assert found == ["cifar10, SAM, seed 2 diverged at epoch 3, W̄ first"]


def test_the_papers_number_stands_beside_the_measure_it_is_read_as():
    chest = [row(0, 1, 0.95, dataset="chestmnist", test_auc=0.7, train_auc=0.8, val_auc=0.75)]
    (accuracy,), (auc,) = tables.summarise(results(chest)), tables.summarise(results(chest), "auc")
    assert accuracy["paper"] is None and auc["paper"] == 73.21
    assert math.isclose(auc["test_mean"], 70.0) and math.isclose(accuracy["test_mean"], 95.0)
    assert tables.summarise(results(ROWS), "auc") == []


def test_a_run_on_two_machines_names_both_in_their_order():
    gpu = {
        "device": {"kind": "NVIDIA H100", "platform": "gpu", "count": 1},
        "versions": {"jax": "2.0", "python": "3.12.0"},
    }
    one = {"processor": {"name": "B", "cores": 1}, "started": "2027-01-02T03:04:05Z"}
    again = MANIFEST | {"started": "2028-01-02T03:04:05Z"}
    assert tables.about({**MANIFEST, "continued": [MANIFEST | gpu | one, again]}) == (
        "on A Processor, 2 cores, then 1 × NVIDIA H100, B, 1 core, with jax 1.2.3 and Python 3.12.0, "
        "then jax 2.0 and Python 3.12.0, started 2026-01-02T03:04:05Z"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (59, "59 s"), (60, "1:00"), (309, "5:09"), (3909, "1:05:09"), (3600, "1:00:00")]
)
def test_clock(seconds, text):
    assert tables.clock(seconds) == text


def test_an_arm_that_is_no_rule_keeps_its_name_and_has_no_number_of_the_paper():
    found = results([row(0, 1, 0.5, arm="V̄ frozen at 5"), row(0, 1, 0.5, arm="kp")])
    own, kp = tables.summarise(found)
    assert tables.cells(own, found.title(own["arm"]))[0] == "V̄ frozen at 5" and own["paper"] is None
    assert found.title("kp") == "Kolen–Pollack" and kp["paper"] == 48.16


def test_final_is_each_seeds_last_value_and_none_where_it_diverged():
    assert results(ROWS[::-1]).final("cifar10", "sam") == {0: 50.0, 1: 54.0, 2: None}
    assert results(ROWS).final("cifar10", "fa") == {}
    norms = [row(0, 1, 0.3, v_norm=2.0), row(0, 2, 0.4, v_norm=3.0)]
    assert results(norms).final("cifar10", "sam", "v_norm") == {0: 3.0}  # no percent


# SAM against two others, seed by seed in points: +1, +2, +3 against SGD; FA lost seed 2.
PAIRED = [row(s, 5, 0.50 + 0.05 * s, arm="sgd") for s in range(3)]
PAIRED += [row(s, 5, 0.50 + 0.05 * s + 0.01 * (s + 1)) for s in range(3)]
PAIRED += [row(s, 5, None if s == 2 else 0.40, arm="fa") for s in range(3)]


def test_a_paired_difference_by_hand():
    """1, 2, 3: mean 2, sd 1, so t = 2 √3 with 2 degrees of freedom; the interval is 2 ± 4.3027/√3.

    With two degrees of freedom the two-sided p is 1 - t / √(t² + 2) = 1 - √(6/7).
    """
    found = results(PAIRED).difference("cifar10", "sam", "sgd")
    assert (found.n, found.lost) == (3, 0)
    expected = (2.0, 2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3), 1 - math.sqrt(6 / 7))
    assert all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(found[:4], expected, strict=True))
    other = results(PAIRED).difference("cifar10", "sgd", "sam")
    assert math.isclose(other.difference, -2.0) and math.isclose(other.high, -expected[1], rel_tol=1e-6)


def test_the_markdown_compares_each_arm_with_the_reference_seed_by_seed():
    text = tables.markdown(results(PAIRED), "sgd")
    lines = [line for line in text.splitlines() if "− SGD" in line]
    assert lines[0] == (
        "- cifar10: SAM − SGD: +2.00 points [-0.48, +4.48], p = 0.0742, paired t-test, n = 3"
    )  # by hand, above
    # FA: -10 and -15 in the two seeds it finished; ± 12.7062 · 3.5355 / √2
    assert lines[1].startswith("- cifar10: Feedback Alignment − SGD: -12.50 points [-44.27, +19.27]")
    assert lines[1].endswith("n = 2, 1 of 3 pairs lost") and len(lines) == 2
    assert "− SGD" not in tables.markdown(results(PAIRED))
    assert "− " not in tables.markdown(results(PAIRED), "an arm that was not run")


def test_arms_are_compared_within_their_data_set_alone():
    other = [r | {"dataset": "mnist"} for r in PAIRED if r["arm"] == "sgd"]
    lines = tables.comparisons(results(PAIRED + other), "sam")
    assert [line.split(": ")[:2] for line in lines] == [
        ["cifar10", "SGD − SAM"],
        ["cifar10", "Feedback Alignment − SAM"],
    ]


def looks(arms):
    styles = [figures.style(arm, place) for place, arm in enumerate(arms)]
    return [(style["color"], str(style["linestyle"])) for style in styles]


@pytest.mark.parametrize("rules", [0, 5, 12])
def test_no_two_of_forty_arms_look_alike_whatever_places_the_rules_take(rules):
    names = [*list(sj.RULES)[:rules], *(f"arm {i}" for i in range(40 - rules))]
    for shift in range(40):
        arms = names[shift:] + names[:shift]
        assert len(set(looks(arms))) == 40


def test_a_rule_looks_alike_in_every_figure():
    for rule in sj.RULES:
        assert figures.style(rule, 0) == figures.style(rule, 17)


def test_curves_draw_each_arms_mean_and_stop_where_all_seeds_are_lost(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(figures, "save", lambda figure, path: kept.append(figure))
    lost = [row(0, 1, 0.2, arm="fa"), row(0, 2, None, arm="fa")]
    figures.curves(tmp_path / "curves.png", results(ROWS + lost))
    top, bottom = kept[0].axes
    assert (top.get_ylabel(), bottom.get_ylabel()) == ("test accuracy (%)", "train accuracy (%)")
    drawn = {line.get_label(): line.get_xydata().round(9).tolist() for line in top.lines}
    assert drawn == {
        "SAM (1 of 3 diverged)": [[1, 31.0], [2, 52.0]],
        "Feedback Alignment (1 of 1 diverged)": [[1, 20.0]],
    }
    assert top.get_title() == "cifar10 (2 diverged)"


@pytest.mark.parametrize(("rules", "sets"), [(12, 1), (12, 3), (5, 1), (1, 1)])
def test_a_legend_lies_within_its_figure(rules, sets, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    kept, plain = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: kept.append(figure) or plain(figure, *a, **k))
    names = [f"set{place}" for place in range(sets)]
    rows = [row(0, e, 0.5, arm=rule) | {"dataset": n} for rule in list(sj.RULES)[:rules] for e in (0, 1) for n in names]
    figures.curves(tmp_path / "curves.png", results(rows))
    (legend,), page = kept[0].legends, kept[0].bbox
    box = legend.get_window_extent()
    assert len(legend.get_texts()) == rules
    assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
    assert all(box.y1 <= axis.get_tightbbox().y0 + 1 for axis in kept[0].axes)


def test_curves_have_a_row_for_each_split_and_a_column_for_each_data_set(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    kept = []
    plain = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: kept.append(figure) or plain(figure, *a, **k))
    rows = ROWS + [r | {"dataset": "mnist"} for r in ROWS]
    figures.curves(tmp_path / "curves.png", results(rows), splits=("val",))
    assert [axis.get_title() for axis in kept[0].axes] == ["cifar10 (1 diverged)", "mnist (1 diverged)"]
    assert kept[0].axes[0].lines[0].get_ydata().round(9).tolist() == [41.0, 62.0]
    assert all(axis.yaxis.get_tick_params()["labelleft"] for axis in kept[0].axes)  # each has a scale of its own
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
