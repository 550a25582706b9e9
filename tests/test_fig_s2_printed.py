"""Figure S2 as printed: which cells run, at which rates, and what is said of ours beside the paper's."""

import json
import pathlib

import numpy as np
import official_files as files
import pytest

from sam_jax import lab
from sam_jax.experiments import fig_s2_printed as s2
from sam_jax.lab import flags
from sam_jax.lab.results import Results


def test_the_printed_cells_are_the_papers():
    """Its best and its recipe's own cell, and the grid, as authors of this project read them off the figure."""
    printed = s2.printed()
    assert max(printed, key=printed.get) == "2/1/0.5/1" and printed["2/1/0.5/1"] == 51.25
    assert printed["1/0.2/1/4"] == 49.77 and max(printed.values()) < 51.91
    values = [{name.split("/")[place] for name in printed} for place in range(4)]
    assert values == [{"0.1", "0.5", "1", "2"}, {"0.1", "0.2", "0.5", "1"}, {"0.1", "0.5", "1"}, {"1", "2", "4"}]
    assert len(printed) == 144


@pytest.mark.parametrize("others", [0, 12, 108, 500])
def test_the_cells_are_those_of_one_rate_of_w_and_some_others(others):
    names = s2.chosen([], others)
    assert names == [name for name in s2.printed() if name in names]  # in the printed order
    assert sum(name.startswith("1/") for name in names) == 36 and len(names) == 36 + min(others, 108)


def test_the_cells_asked_for_are_run_alone():
    assert s2.chosen(["2/1/0.5/1", "1/1/1/1", "2/1/0.5/1"], 12) == ["2/1/0.5/1", "1/1/1/1"]
    with pytest.raises(ValueError, match=r"'3/1/1/1' is no cell of Figure S2, expected .* as in 1/0.2/1/4"):
        flags.parse(s2.EXPERIMENT, ["s2", "--dataset=digits", "--cells=3/1/1/1"])


def results(**accuracies):
    """Each cell's accuracies in percent, by seed; None is a run that diverged. Cells are named w_wbar_v_vbar."""
    cells = {name.replace("_", "/").replace("p", "."): values for name, values in accuracies.items()}
    rows = [
        {"dataset": "mine", "arm": arm, "seed": seed, "epoch": 2, "diverged": value is None}
        | {"test_accuracy": None if value is None else value / 100}
        for arm, values in cells.items()
        for seed, value in enumerate(values)
    ]
    manifest = {
        "cells": {"mine": {name: {"title": name, "tags": {"w": 1}} for name in cells}},
        "data": {"mine": {"measure": "accuracy", "sizes": {"train": 100}, "chance": {"accuracy": 10.0}}},
    }
    return Results(pathlib.Path("out"), manifest, rows)


def outcomes(found):
    claims = (("s2", s2.smallest_v), ("rate_order", s2.as_claimed))
    return [verdict and verdict.outcome for verdict in (s2.verdict(c, "so", found, "mine", has) for c, has in claims)]


def test_the_best_with_a_property_stands_against_the_best_without():
    best = results(**{"1_0p5_0p1_4": [50, 50.1, 49.9], "1_1_1_1": [48, 48.1, 47.9]})
    assert outcomes(best) == ["holds", "holds"]
    worst = results(**{"1_0p5_0p1_4": [48, 48.1, 47.9], "1_1_1_1": [50, 50.1, 49.9]})
    assert outcomes(worst) == ["does not hold", "does not hold"]
    alone = results(**{"1_0p5_0p1_4": [50], "1_1_1_1": [48]})
    assert outcomes(alone) == [None, None]  # one seed has no interval
    lucky = results(**{"1_0p5_0p1_4": [50, 50.1, 49.9, None], "1_1_1_1": [48, 48.1, 47.9, 48]})
    assert outcomes(lucky) == ["undecided", "undecided"]  # the best lost a seed


def test_rank_correlation_and_differences_are_told():
    """Ours are the paper's with two neighbours exchanged, and a point higher: Spearman's ρ = 1 - 6 · 2 / (n³ - n)."""
    names = sorted(s2.printed(), key=s2.printed().get)[::24]
    values = [s2.printed()[name] + 1 for name in names]
    values[1], values[2] = values[2], values[1]
    found = results(**{name.replace("/", "_").replace(".", "p"): [v] for name, v in zip(names, values, strict=True)})
    text = s2.text(found, "mine")
    n = len(names)
    assert f"correlation of our {n} cells with the paper's: {1 - 12 / (n**3 - n):.2f}" in text
    assert "mean +1.00 points" in text and text.count("| +1.00 |") == n - 2
    lost = s2.text(results(**{"1_1_1_1": [50], "1_1_1_2": [49], "1_1_1_4": [48], "2_1_1_4": [None]}), "mine")
    assert "All seeds diverged in 2/1/1/4." in lost and "our 3 cells" in lost


def test_some_cells_run_at_the_recipes_rates(tmp_path):
    files.write_npz(tmp_path / "mine.npz", files.examples(36, (4, 3, 1), 3), files.examples(10, (4, 3, 1), 3, seed=1))
    folder = tmp_path / "out"
    cells = "--cells=1/0.2/1/4,0.5/0.2/0.1/4,2/1/0.5/1"
    small = ("--epochs=2", "--hidden_widths=6,5", "--batch_size=16", f"--out_dir={folder}")
    lab.main(s2.EXPERIMENT, ["s2.py", f"--dataset={tmp_path / 'mine.npz'}", cells, *small])
    held = json.loads((folder / "manifest.json").read_text())["cells"]["mine"]
    rates = {p: held["0.5/0.2/0.1/4"]["numbers"][f"rate_{p}"] for p in s2.FACTORS}
    assert rates == pytest.approx({"w": 0.0025, "w_bar": 0.001, "v": 0.0005, "v_bar": 0.02})
    recipes = flags.read_config(s2.paper.CONFIGS / "recipes", "authors2025", s2.RULES["sam"])
    own = held["1/0.2/1/4"]["numbers"]
    np.testing.assert_allclose([own[name] for name in recipes], list(recipes.values()))
    assert {path.name for path in folder.glob("printed*")} == {"printed.md", "printed_mine.png"}
