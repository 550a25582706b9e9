"""A verdict from paired differences: the side of its interval decides, and one failure decides for several."""

import math
import pathlib

import pytest

import sam_jax as sj
from sam_jax.lab import compare
from sam_jax.lab.results import Results

FACTS = {"sizes": {"train": 4500, "val": 5, "test": 5}, "measure": "accuracy", "chance": {"accuracy": 50.0}}


def results(flags=None, facts=FACTS, **arms):
    """Rows of the last of three epochs; a list of the test measure in percent for each arm, None where it diverged."""
    column = f"test_{facts['measure']}"
    rows = [
        {"dataset": "mine", "arm": arm, "seed": seed, "epoch": 3, "diverged": value is None}
        | {column: None if value is None else value / 100}
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    ]
    cells = {"mine": {arm: {"title": sj.RULES[arm].title if arm in sj.RULES else arm} for arm in arms}}
    return Results(pathlib.Path("run"), {"data": {"mine": facts}, "cells": cells, "flags": flags or {}}, rows)


def test_the_setting_names_images_epochs_and_seeds():
    assert results(sam=[1, 2]).setting("mine") == "mine (4,500 training images), 3 epochs, 2 seeds"
    slower = results({"rate_factor": 0.5}, sam=[1, 2])
    assert slower.setting("mine").endswith("2 seeds, all rates × 0.5")
    theirs = results({"rate_factor": 1.0, "recipe": "authors2025"}, sam=[1, 2])
    assert theirs.setting("mine").endswith("2 seeds, authors2025")


# Differences of 1 and 3: mean 2, and the 95 % interval of two is 2 ± 12.7062; of 1.9, 2, 2.1: 2 ± 0.2484.
@pytest.mark.parametrize(
    ("sam", "margin", "outcome"),
    [
        ([51.9, 52.0, 52.1], 0.0, "holds"),
        ([51.9, 52.0, 52.1], 1.7, "holds"),
        ([51.9, 52.0, 52.1], 1.8, "undecided"),
        ([51.9, 52.0, 52.1], 2.2, "undecided"),
        ([51.9, 52.0, 52.1], 2.3, "does not hold"),
        ([49.4, 49.5, 49.6], 0.0, "does not hold"),
        ([49.4, 49.5, 49.6], -1.0, "holds"),
        ([51, 53], 0.0, "undecided"),
        ([52.0], 0.0, "undecided"),
        ([None, 52.0, None], 0.0, "undecided"),
    ],
)
def test_the_side_of_the_interval_decides(sam, margin, outcome):
    of = results(sam=sam, sgd=[50.0] * len(sam))
    found = compare.above(of, "mine", [("sam", "sgd")], margin)
    assert found.outcome == outcome
    assert found.ours.startswith("SAM − SGD: ")


def test_the_verdict_prints_the_difference_its_interval_and_what_was_lost():
    """51.9, 52, 52.1 against 50: mean 2, sd 0.1, half 4.302653 · 0.1 / √3."""
    half = 4.302653 * 0.1 / math.sqrt(3)
    of = results(sam=[51.9, 52.0, 52.1, None], sgd=[50.0] * 4)
    found = compare.above(of, "mine", [("sam", "sgd")])
    assert f"+2.00 points [+{2 - half:.2f}, +{2 + half:.2f}]" in found.ours
    assert "n = 3, 1 of 4 pairs lost" in found.ours
    (effect,) = found.effects
    assert effect.words == found.ours and effect.name == "SAM − SGD" and effect.unit == "points"
    assert effect.paired[:3] == pytest.approx((2.0, 2 - half, 2 + half))
    assert found.outcome == "undecided"  # what diverges is not shown to be above
    rival = compare.above(results(sam=[51.9, 52.0, 52.1], sgd=[50.0, 50.0, None]), "mine", [("sam", "sgd")])
    assert rival.outcome == "holds" and "1 of 3 pairs lost" in rival.ours


def test_one_rival_that_is_better_decides_for_all():
    of = results(sam=[51.9, 52.0, 52.1], fa=[50.0] * 3, kp=[53.0] * 3, wm=[51, 53, 52])
    above = {b: compare.above(of, "mine", [("sam", b)]).outcome for b in ("fa", "kp", "wm")}
    assert above == {"fa": "holds", "kp": "does not hold", "wm": "undecided"}
    for rivals, outcome in (("fa", "wm"), "undecided"), (("fa", "kp", "wm"), "does not hold"):
        found = compare.above(of, "mine", [("sam", b) for b in rivals])
        assert found.outcome == outcome and all(f"SAM − {sj.RULES[b].title}" in found.ours for b in rivals)
        assert [effect.name for effect in found.effects] == [f"SAM − {sj.RULES[b].title}" for b in rivals]


def test_several_outcomes_hold_together_only_if_each_does():
    assert compare.together(["holds", "holds"]) == "holds"
    assert compare.together(["holds", "undecided"]) == "undecided"
    assert compare.together(["undecided", "does not hold", "holds"]) == "does not hold"
    assert compare.together([]) == "undecided"  # nothing was compared


# An arm that has lost its seeds, against one at 55: where chance counts, the most frequent label's share, or an AUC of
# 50. The old trap: 100 / classes, which is 10 for ten labels of which one is given to most images.
MULTI_LABEL = FACTS | {"measure": "auc", "chance": {"accuracy": 94.8, "auc": 50.0}}
UNEVEN = FACTS | {"chance": {"accuracy": 80.0}}


@pytest.mark.parametrize(("facts", "chance"), [(UNEVEN, 80.0), (MULTI_LABEL, 50.0)], ids=["accuracy", "auc"])
def test_a_diverged_seed_counts_as_the_data_sets_chance(facts, chance):
    of = results(None, facts, sam=[55.0, 55.1, 54.9], lost=[None, None, None])
    assert of.chance("mine") == chance
    found = compare.above(of, "mine", [("sam", "lost")], lost_is_chance=True)
    assert f"{55 - chance:+.2f} points" in found.ours and f"diverged runs count as chance, {chance:.2f} %" in found.ours
    assert found.outcome == ("holds" if chance < 55 else "does not hold")
    assert compare.above(of, "mine", [("sam", "lost")]).outcome == "undecided"


def test_two_arms_that_always_diverge_decide_nothing():
    of = results(sam=[None, None, None], sgd=[None, None, None])
    assert compare.above(of, "mine", [("sam", "sgd")], lost_is_chance=True).outcome == "undecided"


# Differences of -0.1, 0, 0.1 (0 ± 0.2484), of 1.9, 2, 2.1 (2 ± 0.2484).
@pytest.mark.parametrize(
    ("sam", "margin", "outcome"),
    [
        ([49.9, 50.0, 50.1], 0.25, "holds"),
        ([49.9, 50.0, 50.1], 0.24, "undecided"),
        ([51.9, 52.0, 52.1], 1.7, "does not hold"),
        ([51.9, 52.0, 52.1], 1.8, "undecided"),
        ([47.9, 48.0, 48.1], 1.7, "does not hold"),
        ([49.9, 50.0, None], 9.0, "undecided"),
    ],
)
def test_alike_is_the_whole_interval_within_the_margin(sam, margin, outcome):
    of = results(sam=sam, sgd=[50.0] * 3)
    found = compare.alike(of, "mine", "sam", "sgd", margin)
    assert found.outcome == outcome and f"alike is within ±{margin:g}" in found.ours
