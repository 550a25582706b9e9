"""The ablations, the scalar error, the variants and Table 2: two steps of each script, its verdicts on known rows."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from absl.testing import flagsaver

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "experiments"))
import comparison
import fig2_ablation
import options
import scalar_error
import table2
import variants

from sam_jax import compatibility_table, paper, verdicts
from sam_jax.rules import CRITERIA, RULES

if not options.FLAGS.is_parsed():
    options.FLAGS(["test"])

SCRIPTS = pathlib.Path(fig2_ablation.__file__).parent
MANIFEST = {"data": {"mine": {"sizes": {"train": 4500, "val": 5, "test": 5}, "trivial_test": 10.0}}}
SMALL = ("--epochs=1", "--batch_size=16", "--seeds=2", "--hidden_widths=6,5", "--noconfigs")


def row(arm, seed, epoch, accuracy, **columns):
    """A row of the data set `mine`; its accuracy in percent, None where it diverged."""
    accuracy = None if accuracy is None else accuracy / 100
    found = {"dataset": "mine", "arm": arm, "seed": seed, "epoch": epoch, "diverged": accuracy is None}
    every = dict.fromkeys(("test_accuracy", "val_accuracy", "train_loss", "test_loss"), accuracy)
    return found | every | columns


def rows(accuracies):
    """Rows of the last of three epochs; each arm's test accuracies in percent, seed by seed."""
    return [row(arm, seed, 3, value) for arm, values in accuracies.items() for seed, value in enumerate(values)]


def around(mean):
    """Three seeds; against 50 ± 0 their differences have an interval of ± 0.2484."""
    return [mean - 0.1, mean, mean + 0.1]


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


def run(script, *arguments, cwd):
    command = [sys.executable, SCRIPTS / script, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize(
    ("script", "figure", "arms", "claims"),
    [
        ("fig2_ablation.py", "fig2.png", 10, {"fig2"}),
        ("scalar_error.py", "scalar_error.png", 4, {"scalar_error"}),
        (
            "variants.py",
            "variants.png",
            30,
            {"widths", "downstream_nonlinearity", "postsynaptic_signal", "reductions"},
        ),
        ("table2.py", "table2.png", 16, {"table2"}),
    ],
)
def test_two_steps_leave_what_the_script_says_and_are_not_run_again(script, figure, arms, claims, images, tmp_path):
    arguments = (f"--dataset={images}", "--out_dir=out", *SMALL)
    run(script, *arguments, cwd=tmp_path)
    folder = tmp_path / "out"
    expected = {"manifest.json", "metrics.jsonl", "table.md", "table.csv", "verdicts.json", figure}
    expected |= {"table2.md"} if script == "table2.py" else set()
    assert {path.name for path in folder.iterdir()} == expected
    before = (folder / "metrics.jsonl").read_text()
    found = [json.loads(line) for line in before.splitlines()]
    assert len({r["arm"] for r in found}) == arms and len(found) == arms * 2 * 2  # seeds, epochs 0 and 1
    assert {verdict.claim for verdict in verdicts.read(folder)} == claims
    if script == "variants.py":
        assert verdicts.read(folder)[-1].outcome == "holds"
    run(script, *arguments, cwd=tmp_path)
    assert (folder / "metrics.jsonl").read_text() == before


def test_an_arm_has_another_rules_numbers_whatever_the_rate_factor():
    with flagsaver.as_parsed(rate_factor="0.5", configs="false"):
        kp = options.make_settings("kp", "mine")
        assert options.make_settings("sam", "mine", **comparison.numbers("kp", "mine"))[:3] == kp[:3]
        halved = options.make_settings("sam", "mine", **comparison.numbers("kp", "mine", {"w_bar": 2, "decay": 4}))
        assert halved.rates == kp.rates._replace(w_bar=kp.rates.w_bar / 2)
        assert halved.decay == kp.decay / 4


@pytest.mark.parametrize(
    ("mean", "outcome"),
    [(50, "holds"), (51.7, "holds"), (51.9, "undecided"), (52.3, "does not hold"), (47.7, "does not hold")],
)
def test_alike_is_an_interval_within_the_margin(mean, outcome):
    pair = rows({"a": around(mean), "b": [50, 50, 50]})
    assert comparison.alike("fig2", MANIFEST, pair, "mine", "says", "a", "b", margin=2).outcome == outcome


def test_a_diverged_run_counts_as_chance_where_arms_may_diverge():
    pair = rows({"a": around(50), "b": [None, None, None]})
    verdict = comparison.above("scalar_error", MANIFEST, pair, "mine", "says", [("a", "b")])
    assert verdict.outcome == "holds"
    assert "+40.00 points" in verdict.ours and "(3 of 3 diverged)" in verdict.ours and "10.00 %" in verdict.ours
    assert comparison.above("scalar_error", MANIFEST, pair, "mine", "says", [("b", "a")]).outcome == "does not hold"


AS_PAPER = {
    "linear network": [40, 40, 40],
    "W": around(40),
    "W, W̄": around(42),
    "W, V": around(40),
    "W, V̄": [46, 46, 46],
    "W, W̄, V": around(46.5),
    "W, W̄, V̄": around(47),
    "W, V, V̄": [46, 46, 46],
    "W, W̄, V, V̄": [50, 50.02, 50.04],
    "SGD": around(50.3),
}


def test_figure_2_as_the_paper_has_it_holds_in_every_point():
    assert [v.outcome for v in fig2_ablation.judge(MANIFEST, rows(AS_PAPER), "mine")] == ["holds"] * 6


@pytest.mark.parametrize(
    ("arm", "values", "wrong"),
    [
        ("linear network", [30, 30, 30], {0}),
        ("W, W̄", around(48), {1}),
        ("W, W̄, V", around(43), {3}),
        ("SGD", around(53), {4}),
        ("W, W̄, V̄", around(51), {5}),
        ("W, V̄", [39, 39, 39], {1, 2, 3}),
    ],
)
def test_figure_2_fails_where_one_arm_is_not_the_papers(arm, values, wrong):
    outcomes = [v.outcome for v in fig2_ablation.judge(MANIFEST, rows(AS_PAPER | {arm: values}), "mine")]
    assert {i for i, outcome in enumerate(outcomes) if outcome == "does not hold"} == wrong


def test_figure_2_has_every_subset_with_w_once_and_the_linear_network_at_its_own_rate():
    arms = fig2_ablation.arms("mine")
    subsets = {arm.circuit["plastic"] for arm in arms.values() if arm.rule == "sam"}
    assert len(subsets) == 8 and all("w" in subset for subset in subsets)
    assert set(fig2_ablation.LOOKS) == set(arms) and list(arms)[-2] == "W, W̄, V, V̄"
    assert arms["linear network"].numbers == {"rate_w": 0.03}


def test_the_vector_must_beat_every_scalar():
    better = {"vector (default)": around(50)} | {arm: [45, 45, 45] for arm in scalar_error.SCALARS}
    assert scalar_error.judge(MANIFEST, rows(better), "mine").outcome == "holds"
    assert scalar_error.judge(MANIFEST, rows(better | {"scalar: mean": [50, 50, 50]}), "mine").outcome == "undecided"
    nothing = {arm: [None] * 3 for arm in better}  # two that diverge are not alike
    assert scalar_error.judge(MANIFEST, rows(nothing), "mine").outcome == "undecided"
    worse = better | {"scalar: norm": [51, 51, 51]}
    assert scalar_error.judge(MANIFEST, rows(worse), "mine").outcome == "does not hold"


def test_uneven_widths_are_in_proportion_and_wider_streams_learn_more_slowly():
    with flagsaver.as_parsed(hidden_widths="200,200,200", configs="false"):
        arms, usual = variants.arms("mine"), options.make_settings("sam", "mine")
    assert arms["d̄ uneven"].circuit["downstream_widths"] == (120, 300, 80)
    assert arms["d̄ = 2d"].circuit["downstream_widths"] == (400, 400, 400)
    assert arms["d̄ = 2d"].numbers["rate_v_bar"] == usual.rates.v_bar / 2
    assert arms["d̄ = 2d"].numbers["rate_w"] == usual.rates.w
    assert arms["d̄ = d/2"].numbers["rate_v_bar"] == usual.rates.v_bar
    with flagsaver.as_parsed(downstream_widths="5,5,5"), pytest.raises(ValueError, match="leave it out"):
        variants.arms("mine")


def test_variants_may_be_a_point_below_the_default_and_reductions_not_at_all():
    same = {name: [50, 50, 50] for pair in variants.REDUCTIONS.items() for name in (pair[0], pair[1][0])}
    fine = {variants.DEFAULT: around(50)} | {arm: [49.5, 49.5, 49.5] for arm in variants.VARIANTS[1:]} | same

    def outcomes(**changed):
        return [v.outcome for v in variants.judge(MANIFEST, rows(fine | changed), "mine")]

    def around_best(arm, best):  # a factor on either side of the best
        others = {f"{arm}, rates × 0.5": best, f"{arm}, rates × 0.2": [value - 1 for value in best]}
        return {arm: [best[0] - 1] * 3} | others

    assert outcomes() == ["holds"] * 4
    short = outcomes(**{"d̄ = 2d": [48, 48, 48]})
    assert short == ["undecided", "holds", "holds", "holds"]  # another factor might do better
    every = {k: v for arm in variants.WIDTHS for k, v in around_best(arm, [48, 48, 48]).items()}
    assert outcomes(**every) == ["does not hold", "holds", "holds", "holds"]
    assert outcomes(**{"D_d = tanh": [None] * 3})[1] == "undecided"
    assert outcomes(**{"S_post plain": [49, 49, 49]})[2] == "undecided"
    assert outcomes(fa=[50, 50, 50.0001])[3] == "does not hold"
    assert outcomes(fa=[50, 50, None])[3] == "does not hold"
    assert outcomes(fa=[50, 50])[3] == "undecided"
    slower = {"S_post plain": [None] * 3, "S_post plain, rates × 0.3": [49.5, 49.5, 49.5]}
    assert outcomes(**slower) == ["holds"] * 4  # its best factor counts


def test_a_variants_best_factor_is_chosen_on_validation():
    found = rows({arm: [50, 50] for arm in variants.VARIANTS} | {"D_d = relu, rates × 0.1": [40, 40]})
    for r in found:
        r["val_accuracy"] = 0.6 if "0.1" in r["arm"] else 0.55
    best = variants.chosen(MANIFEST, found, "mine")
    assert best.pop("D_d = relu") == "D_d = relu, rates × 0.1" and all(name == arm for name, arm in best.items())
    with flagsaver.as_parsed(hidden_widths="200,200,200", configs="false"):
        arms = variants.arms("mine")
        one, other = (options.make_settings("sam", "mine", **arms[f"d̄ = 2d{a}"].numbers) for a in ("", ", rates × 0.3"))
    assert other.decay == pytest.approx(0.3 * one.decay) and other.scales == one.scales
    assert other.rates == pytest.approx([0.3 * rate for rate in one.rates])


def test_decay_alone_is_no_move():
    first = [0.3, -0.2, 0.1]
    assert table2.moved(first, [0.5 * value for value in first]) == pytest.approx(0, abs=1e-12)
    assert table2.moved([1.0, 0.0], [0.5, 0.25]) == pytest.approx(0.25)


def table2_rows(wrong=None):
    """Rows that say what the paper's table says: arrows move or only decay, lesions change the loss or do not."""
    found = []
    for rule, ticks in compatibility_table().items():
        marks = list(ticks.values())
        for epoch in (0, 1):
            columns = {}
            for i, pathway in enumerate(table2.PATHWAYS):
                if marks[i]:
                    plastic = marks[4 + i] and (rule, pathway) != wrong
                    columns[f"{pathway}_projection"] = [1.0 - 0.1 * epoch, 0.5 * epoch if plastic else 0.0]
            found += [row(rule, seed, epoch, 90, **columns) for seed in (0, 1)]
        for i, pathway in enumerate(table2.PATHWAYS):
            if marks[i]:
                found += [row(table2.lesioned(rule, pathway), seed, 1, 70) for seed in (0, 1)]
    return found


def test_table_2_is_the_papers_computed_and_simulated():
    for rule, marks in paper.TABLE2.items():
        assert tuple(compatibility_table()[rule].values()) == marks
        assert tuple(tick for tick, _ in table2.simulate(table2_rows(), "mine", rule).values()) == marks
    assert table2.judge(MANIFEST, table2_rows(), "mine").outcome == "holds"


def test_table_2_fails_by_one_entry_and_is_undecided_without_a_run():
    held = table2.judge(MANIFEST, table2_rows(wrong=("sam", "v")), "mine")
    assert held.outcome == "does not hold" and f"differ: SAM, {CRITERIA[6]}" in held.ours
    no_lesion = [r for r in table2_rows() if r["arm"] != "SAM without V̄"]
    assert table2.simulate(no_lesion, "mine", "sam")[CRITERIA[3]] == (None, None)
    assert table2.judge(MANIFEST, no_lesion, "mine").outcome == "undecided"
    useless = [r | {"test_loss": 0.9} if r["arm"] == "SAM without V̄" else r for r in table2_rows()]
    assert f"differ: SAM, {CRITERIA[3]}" in table2.judge(MANIFEST, useless, "mine").ours


def test_every_stored_pathway_of_every_rule_is_lesioned_once():
    arms = table2.arms("mine")
    assert set(arms) == set(RULES) | {
        table2.lesioned(rule, pathway) for rule in RULES for pathway in RULES[rule](widths=(2, 2, 2)).stored
    }
    assert arms["Weight Mirroring without W̄"].numbers == {"scale_w_bar": 0.0, "mirror_rate": 0.0}
