"""The experiments of the supplement's figures: two steps of each, and their verdicts on rows with known answers."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "experiments"))
import fig_s1a_representations as s1a
import fig_s1b_stationarity as s1b
import fig_s1d_overparametrization as s1d
import fig_s2_learning_rates as s2
import options

SCRIPTS = pathlib.Path(__file__).parent.parent / "experiments"
if not options.FLAGS.is_parsed():
    options.FLAGS(["test"])
SMALL = ("--batch_size=16", "--seeds=2", "--out_dir=out")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A user's own file: two steps of 16 images, three classes, 4 x 3 pixels."""
    path = tmp_path_factory.mktemp("images") / "mine.npz"
    random = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 36), ("test", 10)):
        arrays[f"{split}_images"] = random.integers(256, size=(n, 4, 3, 1), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(n) % 3).astype(np.uint8)
    np.savez(path, **arrays)
    return path


def run(script, images, cwd, *arguments):
    """Runs the script; returns its rows and the names of the files that it left."""
    command = [sys.executable, SCRIPTS / script, f"--dataset={images}", *SMALL, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    folder = cwd / "out"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {"manifest.json", "table.md", "table.csv", "verdicts.json"} <= {path.name for path in folder.iterdir()}
    return rows, {path.name for path in folder.iterdir()}


def manifest(cells):
    """What the verdicts read of a manifest: two epochs on a set of ten classes."""
    every = {arm: {"protocol": {"epochs": 2}, **cell} for arm, cell in cells.items()}
    return {"cells": {"mine": every}, "data": {"mine": {"classes": 10, "sizes": {"train": 100}}}}


def row(arm, seed, accuracy=None, epoch=2, **columns):
    """A row whose three splits are all of that accuracy; None is a run that diverged."""
    accuracies = {f"{split}_accuracy": accuracy for split in ("train", "val", "test")}
    lost = accuracy is None
    return {"dataset": "mine", "arm": arm, "seed": seed, "epoch": epoch, "diverged": lost, **accuracies, **columns}


def rates_cell(w_bar, v, v_bar):
    return {"settings": {"rates": {"w": 0.5, "w_bar": 0.5 * w_bar, "v": 0.5 * v, "v_bar": 0.5 * v_bar}}}


RATES = manifest({"a": rates_cell(1, 0.25, 4), "b": rates_cell(1, 1, 4), "c": rates_cell(1, 0.25, 1)})


def rate_rows(**accuracies):
    return [row(arm, seed, a) for arm, values in accuracies.items() for seed, a in enumerate(values)]


def rate_outcomes(rows):
    claims = (("s2", s2.smallest_v), ("rate_order", s2.papers_order))
    return [s2.verdict(claim, "so", RATES, rows, "mine", has).outcome for claim, has in claims]


def test_the_best_learning_rates_are_found_and_compared():
    rows = rate_rows(a=[0.40, 0.41, 0.42], b=[0.30, 0.31, 0.33], c=[0.20, 0.21, 0.23])
    assert rate_outcomes(rows) == ["holds", "holds"]
    # `c` has the smallest η_V as well, but not the paper's order.
    rows = rate_rows(a=[0.20, 0.21, 0.23], b=[0.30, 0.31, 0.33], c=[0.40, 0.41, 0.42])
    assert rate_outcomes(rows) == ["holds", "does not hold"]
    rows = rate_rows(a=[0.30, 0.31, 0.33], b=[0.40, 0.41, 0.42], c=[0.20, 0.21, 0.23])
    assert rate_outcomes(rows) == ["does not hold", "does not hold"]
    rows = rate_rows(a=[0.30, 0.40, 0.33], b=[0.40, 0.31, 0.32], c=[0.20, 0.21, 0.23])
    assert rate_outcomes(rows) == ["undecided", "undecided"]


def test_a_seed_that_diverged_counts_as_guessing_among_learning_rates():
    rows = rate_rows(a=[0.50, None], b=[0.40, 0.40], c=[0.20, 0.21])
    found = s2.scores(RATES, rows, "mine", "val_accuracy")
    assert found == {(1, 0.25, 4): {0: 50, 1: 10}, (1, 1, 4): {0: 40, 1: 40}, (1, 0.25, 1): {0: 20, 1: 21}}
    found = s2.verdict("s2", "so", RATES, rows, "mine", s2.smallest_v)
    assert "best on validation 1/1/4 (40.00 %" in found.ours and "diverged seeds are among these" in found.ours
    found = rate_rows(a=[None, None, None], b=[0.40, 0.41, 0.42], c=[0.20, 0.21, 0.23])
    assert rate_outcomes(found) == ["does not hold", "undecided"]  # that `a` diverges says nothing of its order


def test_learning_rates_are_run_and_drawn_once(images, tmp_path):
    flags = ("--epochs=2", "--hidden_widths=6,5", "--ratios_w_bar=1", "--ratios_v=0.25,1", "--rate_factor=0.5")
    rows, files = run("fig_s2_learning_rates.py", images, tmp_path, *flags, "--ratios_v_bar=4", "--rate_w=0.2")
    assert "learning_rates_mine.png" in files
    assert [r["epoch"] for r in rows if r["seed"] == 0] == [0, 2] * 2  # the start and the end alone
    cells = json.loads((tmp_path / "out" / "manifest.json").read_text())["cells"]["mine"]
    assert list(cells) == ["η_W̄ 1, η_V 0.25, η_V̄ 4", "η_W̄ 1, η_V 1, η_V̄ 4"]
    assert cells["η_W̄ 1, η_V 0.25, η_V̄ 4"]["settings"]["rates"] == pytest.approx(
        {"w": 0.1, "w_bar": 0.1, "v": 0.025, "v_bar": 0.4}
    )
    again, _ = run("fig_s2_learning_rates.py", images, tmp_path, *flags, "--ratios_v_bar=4", "--rate_w=0.2")
    assert again == rows


WIDTHS = ("relu, d̄ = 0.25 d", "relu, d̄ = 1 d", "relu, d̄ = 7.5 d", "relu, d̄ = 10 d")


@pytest.mark.parametrize(
    ("accuracies", "outcome"),
    [
        ((0.30, 0.31, 0.40, 0.40), "holds"),
        ((0.30, 0.31, 0.40, 0.35), "holds"),
        ((0.30, 0.31, 0.40, 0.45), "does not hold"),  # still better beyond 7.5
        ((0.30, 0.41, 0.40, 0.40), "does not hold"),
        ((0.30, 0.40, 0.40, 0.40), "undecided"),
    ],
)
def test_a_wider_downstream_stream_is_judged_at_and_beyond_the_papers_ratio(accuracies, outcome):
    noise = [(0, 0, 0, 0), (0, 0.002, 0.001, 0.003), (0.001, 0, 0.002, 0)]
    rows = [
        row(arm, seed, a + extra)
        for seed, extras in enumerate(noise)
        for arm, a, extra in zip(WIDTHS, accuracies, extras, strict=True)
    ]
    cells = {arm: {"circuit": {"activation": "relu"}} for arm in WIDTHS}
    found = s1d.verdict(manifest(cells), rows, "mine", "relu")
    assert (found.claim, found.outcome) == ("s1d", outcome)
    assert s1d.verdict(manifest(cells), rows, "mine", "tanh") is None


def test_widths_are_run_and_drawn_with_divided_rates(images, tmp_path):
    flags = ("--epochs=1", "--hidden_widths=9,9", "--width=4", "--ratios=0.5,2", "--activations=tanh", "--rate_v_bar=1")
    rows, files = run("fig_s1d_overparametrization.py", images, tmp_path, *flags)
    assert "overparametrization_mine.png" in files
    cells = json.loads((tmp_path / "out" / "manifest.json").read_text())["cells"]["mine"]
    shapes = [(c["circuit"]["widths"][1:-1], c["circuit"]["downstream_widths"]) for c in cells.values()]
    assert shapes == [([4, 4], [2, 2]), ([4, 4], [8, 8])]
    assert [c["settings"]["rates"]["v_bar"] for c in cells.values()] == [1.0, 0.5]
    assert len({c["settings"]["rates"]["w_bar"] for c in cells.values()}) == 1
    again, _ = run("fig_s1d_overparametrization.py", images, tmp_path, *flags)
    assert again == rows


def test_the_share_off_the_diagonal_does_not_depend_on_the_neurons_sizes():
    assert s1a.off_diagonal(np.diag([1.0, 2.0, 5.0])) == 0
    v = np.array([[1.0], [2.0], [7.0]])
    assert s1a.off_diagonal(v @ v.T) == pytest.approx(np.sqrt(6 / 9), rel=1e-5)  # all correlated: ones everywhere


@pytest.mark.parametrize(
    ("measure", "after", "outcome"),
    [
        ("off_diagonal", (0.8, 0.82, 0.81), "holds"),
        ("off_diagonal", (0.6, 0.61, 0.62), "does not hold"),
        ("effective_rank", (0.4, 0.41, 0.42), "holds"),
        ("effective_rank", (0.6, 0.61, 0.62), "does not hold"),
        ("effective_rank", (0.8, 0.82, 0.81), "does not hold"),
        ("effective_rank", (0.6, 0.8, 0.73), "undecided"),
    ],
)
def test_correlations_and_ranks_are_judged_in_both_streams(measure, after, outcome):
    rows = [row("SAM", 9, None)]  # a diverged run is named, and not in the mean
    for seed, value in enumerate(after):
        rows.append(row("SAM", seed, 0.1, 0, **{f"{p}_{measure}": [0.6, 0.8] for p in ("v_bar", "w")}))
        rows.append(row("SAM", seed, 0.5, 2, **{f"{p}_{measure}": [value, value] for p in ("v_bar", "w")}))
    found = s1a.verdict(manifest({"SAM": {}}), rows, "mine", measure)
    assert (found.claim, found.outcome) == ("s1a", outcome)
    assert "seed 9 diverged" in found.ours and "n = 3" in found.ours


def test_representations_are_probed_and_drawn(images, tmp_path):
    flags = ("--epochs=2", "--hidden_widths=6,6,6", "--evaluate_every=1")
    rows, files = run("fig_s1a_representations.py", images, tmp_path, *flags)
    assert "representations_mine.png" in files
    first = next(r for r in rows if r["arm"] == "SAM")
    assert len(first["v_bar_effective_rank"]) == 3 and len(first["w_effective_rank"]) == 2
    assert len(first["v_bar_gram"]) == 6 * 7 / 2 and first["v_bar_spectrum"][0] == 1
    assert not any("v_bar_gram" in r for r in rows if r["arm"] == "SGD")
    again, _ = run("fig_s1a_representations.py", images, tmp_path, *flags)
    assert again == rows


@pytest.mark.parametrize(("late", "outcome"), [(0.5, "holds"), (2.0, "does not hold")])
def test_steps_are_judged_between_the_first_and_the_last_quarter(late, outcome):
    cells = manifest({s1b.CONSTANT: {"protocol": {"epochs": 4}}})
    rows = []
    for seed in range(3):
        steps, losses = [9.0, 1.0, 1.0, 1.0, late + 0.1 * seed], [20.0, 3.0, 2.0, 2.0, 2.0 - late - 0.1 * seed]
        for epoch in range(5):
            columns = {"v_bar_step": [steps[epoch]] * 2, "train_loss": losses[epoch] / 17}
            rows.append(row(s1b.CONSTANT, seed, 0.5, epoch, **columns))
    found = s1b.verdict(cells, rows, "mine", {"v_bar_step": "‖ΔV̄‖"}, "so")
    assert (found.claim, found.outcome) == ("s1b", outcome)
    changes = s1b.series(rows, "mine", s1b.CONSTANT, "loss_change")
    assert changes[0] == pytest.approx({1: 1.0, 2: 1 / 17, 3: 0.0, 4: late / 17})
    lost = [row(s1b.CONSTANT, 0, None, 4) if r["seed"] == 0 and r["epoch"] == 4 else r for r in rows]
    assert s1b.shrinkage(cells, lost, "mine", s1b.CONSTANT, "v_bar_step").lost == 1


def test_stationarity_is_probed_and_drawn(images, tmp_path):
    """The constant arm has half the numbers: at the start, where both arms are alike, its step is half as large."""
    flags = ("--epochs=2", "--hidden_widths=6,5")
    rows, files = run("fig_s1b_stationarity.py", images, tmp_path, *flags)
    assert "stationarity_mine.png" in files
    start = {r["arm"]: r for r in rows if r["seed"] == 0 and r["epoch"] == 0}
    assert start["constant rate"]["v_bar_step"] == pytest.approx(
        [size / 2 for size in start["cosine"]["v_bar_step"]], rel=1e-3, abs=1e-6
    )
    again, _ = run("fig_s1b_stationarity.py", images, tmp_path, *flags)
    assert again == rows
