"""A verdict from paired differences: the side of its interval decides, and one failure decides for several."""

import math
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "experiments"))
import present

MANIFEST = {"data": {"mine": {"sizes": {"train": 4500, "val": 5, "test": 5}}}}


def rows(**arms):
    """Rows of the last of three epochs; a list of test accuracies in percent for each arm, None where it diverged."""
    return [
        {"dataset": "mine", "arm": arm, "seed": seed, "epoch": 3, "diverged": value is None}
        | {"test_accuracy": None if value is None else value / 100}
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    ]


def test_the_setting_names_images_epochs_and_seeds():
    assert present.setting(MANIFEST, rows(sam=[1, 2]), "mine") == "mine (4,500 training images), 3 epochs, 2 seeds"
    slower = MANIFEST | {"flags": {"rate_factor": 0.5}}
    assert present.setting(slower, rows(sam=[1, 2]), "mine").endswith("2 seeds, all rates × 0.5")


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
    of = rows(sam=sam, sgd=[50.0] * len(sam))
    found = present.above("table1", MANIFEST, of, "mine", "SAM as good", [("sam", "sgd")], margin)
    assert found.outcome == outcome
    assert (found.claim, found.paper, found.setting) == (
        "table1",
        "SAM as good",
        f"mine (4,500 training images), 3 epochs, {len(sam)} seeds",
    )
    assert found.ours.startswith("SAM − SGD: ")


def test_the_verdict_prints_the_difference_its_interval_and_what_was_lost():
    """51.9, 52, 52.1 against 50: mean 2, sd 0.1, half 4.302653 · 0.1 / √3."""
    half = 4.302653 * 0.1 / math.sqrt(3)
    of = rows(sam=[51.9, 52.0, 52.1, None], sgd=[50.0] * 4)
    found = present.above("table1", MANIFEST, of, "mine", "…", [("sam", "sgd")])
    assert f"+2.00 points [+{2 - half:.2f}, +{2 + half:.2f}]" in found.ours
    assert "n = 3, 1 of 4 pairs lost" in found.ours
    assert found.outcome == "undecided"  # what diverges is not shown to be above
    rival = present.above(
        "table1", MANIFEST, rows(sam=[51.9, 52.0, 52.1], sgd=[50.0, 50.0, None]), "mine", "…", [("sam", "sgd")]
    )
    assert rival.outcome == "holds" and "1 of 3 pairs lost" in rival.ours


def test_one_rival_that_is_better_decides_for_all():
    of = rows(sam=[51.9, 52.0, 52.1], fa=[50.0] * 3, kp=[53.0] * 3, wm=[51, 53, 52])
    above = {b: present.above("table1", MANIFEST, of, "mine", "…", [("sam", b)]).outcome for b in ("fa", "kp", "wm")}
    assert above == {"fa": "holds", "kp": "does not hold", "wm": "undecided"}
    for rivals, outcome in (("fa", "wm"), "undecided"), (("fa", "kp", "wm"), "does not hold"):
        found = present.above("table1", MANIFEST, of, "mine", "…", [("sam", b) for b in rivals])
        assert found.outcome == outcome and all(f"SAM − {present.tables.arm_title(b)}" in found.ours for b in rivals)


def test_several_outcomes_hold_together_only_if_each_does():
    assert present.together(["holds", "holds"]) == "holds"
    assert present.together(["holds", "undecided"]) == "undecided"
    assert present.together(["undecided", "does not hold", "holds"]) == "does not hold"
    assert present.together([]) == "undecided"  # nothing was compared
