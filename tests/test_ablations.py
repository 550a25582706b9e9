"""The ablations, the scalar error, the variants and Table 2: two steps of each, and their verdicts on known rows."""

import json
import pathlib

import official_files as files
import pytest

from sam_jax import PATHWAYS, compatibility_table, lab, training
from sam_jax.data import datasets
from sam_jax.experiments import fig2_ablation, paper, scalar_error, table2, variants, verdicts
from sam_jax.lab import arms, compare, flags
from sam_jax.lab.results import Results
from sam_jax.rule import OPTIONAL
from sam_jax.rules import CRITERIA, RULES

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


def results(rows, tags=None):
    """Results of these rows, on a set of ten classes; `tags[arm]` as the experiment's arms have them."""
    names = dict.fromkeys(r["arm"] for r in rows)
    cells = {name: {"title": RULES[name].title if name in RULES else name, "tags": {}} for name in names}
    for name in names:
        cells[name]["tags"] = dict((tags or {}).get(name, {}))
    facts = {"measure": "accuracy", "chance": {"accuracy": 10.0}, "sizes": {"train": 4500}}
    return Results(pathlib.Path("out"), {"cells": {"mine": cells}, "data": {"mine": facts}}, rows)


def around(mean):
    """Three seeds; against 50 ± 0 their differences have an interval of ± 0.2484."""
    return [mean - 0.1, mean, mean + 0.1]


def options_of(experiment, *given):
    return flags.parse(experiment, [experiment.name, "--dataset=digits", "--noconfigs", *given])


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A user's own file: two steps of 16 images, three classes, 4 x 3 pixels."""
    path = tmp_path_factory.mktemp("images") / "mine.npz"
    return files.write_npz(path, files.examples(36, (4, 3, 1), 3), files.examples(10, (4, 3, 1), 3, seed=1))


@pytest.mark.parametrize(
    ("experiment", "figure", "count", "claims"),
    [
        pytest.param(fig2_ablation.EXPERIMENT, "fig2.png", 10, {"fig2"}, marks=pytest.mark.slow),
        pytest.param(scalar_error.EXPERIMENT, "scalar_error.png", 4, {"scalar_error"}, marks=pytest.mark.slow),
        pytest.param(
            variants.EXPERIMENT,
            "variants.png",
            30,
            {"widths", "downstream_nonlinearity", "postsynaptic_signal", "reductions"},
            marks=pytest.mark.slow,
        ),
        # Every rule, and each of its pathways cut.
        pytest.param(table2.EXPERIMENT, "table2.png", 12 + 24, {"table2"}, marks=pytest.mark.slow),
    ],
    ids=["fig2_ablation", "scalar_error", "variants", "table2"],
)
def test_two_steps_leave_what_the_script_says_and_are_not_run_again(
    experiment, figure, count, claims, images, tmp_path, monkeypatch
):
    folder = tmp_path / "out"
    argv = [experiment.name, f"--dataset={images}", f"--out_dir={folder}", *SMALL]
    lab.main(experiment, argv)
    expected = {"manifest.json", "metrics.jsonl", "table.md", "table.csv", "verdicts.json", figure}
    expected |= {"table2.md"} if experiment.name == "table2" else set()
    assert {path.name for path in folder.iterdir()} == expected
    before = (folder / "metrics.jsonl").read_text()
    found = [json.loads(line) for line in before.splitlines()]
    assert len({r["arm"] for r in found}) == count and len(found) == count * 2 * 2  # seeds, epochs 0 and 1
    assert {verdict.claim for verdict in verdicts.read(folder)} == claims
    if experiment.name == "variants":
        assert verdicts.read(folder)[-1].outcome == "holds"
    monkeypatch.setattr(training, "train", None)
    lab.main(experiment, argv)
    assert (folder / "metrics.jsonl").read_text() == before


def test_an_arms_numbers_are_in_place_of_all_others_whatever_the_rate_factor(digits):
    options = options_of(scalar_error.EXPERIMENT, "--rate_factor=0.5", "--rate_w=0.4")
    job = arms.settle(options, digits, "mine", arms.Arm("kp", numbers={"rate_w": 0.3, "decay": 0.01}))
    assert (job.numbers["rate_w"], job.numbers["rate_w_bar"], job.numbers["decay"]) == (0.3, 0.3, 0.01)
    job = arms.settle(options, digits, "mine", arms.Arm("kp", numbers={"decay": 0.01}))
    assert (job.numbers["rate_w"], job.numbers["rate_w_bar"], job.numbers["decay"]) == (0.2, 0.2, 0.01)


def test_the_slow_norm_is_a_hundredth_of_sams_rates_and_decay(digits):
    options = options_of(scalar_error.EXPERIMENT, "--rate_factor=0.5")
    usual, slow = (
        arms.settle(options, digits, name, scalar_error.arms(options, digits)[name]).numbers
        for name in (scalar_error.NORM, scalar_error.SLOW)
    )
    for name, value in usual.items():
        assert slow[name] == pytest.approx(value if name.startswith("scale") else value / 100)


@pytest.mark.parametrize(
    ("mean", "outcome"),
    [(50, "holds"), (51.7, "holds"), (51.9, "undecided"), (52.3, "does not hold"), (47.7, "does not hold")],
)
def test_alike_is_an_interval_within_the_margin(mean, outcome):
    pair = results(rows({"a": around(mean), "b": [50, 50, 50]}))
    assert compare.alike(pair, "mine", "a", "b", margin=2).outcome == outcome


def test_a_diverged_run_counts_as_chance_where_arms_may_diverge():
    pair = results(rows({"a": around(50), "b": [None, None, None]}))
    ours, outcome, _ = compare.above(pair, "mine", [("a", "b")], lost_is_chance=True)
    assert outcome == "holds"
    assert "+40.00 points" in ours and "(3 of 3 diverged)" in ours and "10.00 %" in ours
    assert compare.above(pair, "mine", [("b", "a")], lost_is_chance=True).outcome == "does not hold"


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
    assert [v.outcome for v in fig2_ablation.judge(results(rows(AS_PAPER)), "mine")] == ["holds"] * 6


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
    outcomes = [v.outcome for v in fig2_ablation.judge(results(rows(AS_PAPER | {arm: values})), "mine")]
    assert {i for i, outcome in enumerate(outcomes) if outcome == "does not hold"} == wrong


def test_figure_2_has_every_subset_with_w_once_and_the_linear_network_at_its_own_rate(digits):
    of_figure = fig2_ablation.arms(options_of(fig2_ablation.EXPERIMENT, "--rate_factor=0.5"), digits)
    subsets = {arm.circuit["plastic"] for arm in of_figure.values() if arm.rule == "sam"}
    assert len(subsets) == 8 and all("w" in subset for subset in subsets)
    assert set(fig2_ablation.LOOKS) == set(of_figure) and list(of_figure)[-2] == "W, W̄, V, V̄"
    assert of_figure["linear network"].numbers == {"rate_w": 0.015}


def test_the_vector_must_beat_every_scalar():
    better = {"vector (default)": around(50)} | {arm: [45, 45, 45] for arm in scalar_error.SCALARS}
    assert scalar_error.judge(results(rows(better)), "mine").outcome == "holds"
    assert scalar_error.judge(results(rows(better | {"scalar: mean": [50, 50, 50]})), "mine").outcome == "undecided"
    nothing = {arm: [None] * 3 for arm in better}  # two that diverge are not alike
    assert scalar_error.judge(results(rows(nothing)), "mine").outcome == "undecided"
    worse = better | {"scalar: norm": [51, 51, 51]}
    assert scalar_error.judge(results(rows(worse)), "mine").outcome == "does not hold"


def variants_of(digits, *given):
    """(the experiment's arms, their tags by name, their jobs by name)."""
    options = options_of(variants.EXPERIMENT, "--hidden_widths=200,200,200", *given)
    of_variants = variants.arms(options, digits)
    jobs = {name: arms.settle(options, digits, name, arm) for name, arm in of_variants.items()}
    return {name: arm.tags for name, arm in of_variants.items()}, jobs


def test_uneven_widths_are_in_proportion_and_wider_streams_learn_more_slowly(digits):
    _, jobs = variants_of(digits)
    usual = jobs[variants.DEFAULT].numbers
    assert jobs["d̄ uneven"].circuit.downstream_widths == (120, 300, 80)
    assert jobs["d̄ = 2d"].circuit.downstream_widths == (400, 400, 400)
    assert jobs["d̄ = 2d"].numbers["rate_v_bar"] == usual["rate_v_bar"] / 2
    assert jobs["d̄ = 2d"].numbers["rate_w"] == usual["rate_w"]
    assert jobs["d̄ = d/2"].numbers["rate_v_bar"] == usual["rate_v_bar"]
    with pytest.raises(ValueError, match="leave it out"):
        variants_of(digits, "--downstream_widths=5,5,5")


def test_a_variants_factor_scales_rates_and_decay_and_no_scale(digits):
    _, jobs = variants_of(digits)
    one, other = jobs["d̄ = 2d"].numbers, jobs["d̄ = 2d, rates × 0.3"].numbers
    for name, value in one.items():
        assert other[name] == pytest.approx(value if name.startswith("scale") else 0.3 * value)


def test_under_decay_times_rate_a_variants_factor_leaves_the_decay(digits):
    _, jobs = variants_of(digits, "--decay_times_rate")
    one, other = jobs[variants.DEFAULT].numbers, jobs[f"{variants.DEFAULT}, rates × 0.3"].numbers
    assert other["decay"] == one["decay"] > 0 and other["rate_w"] == pytest.approx(0.3 * one["rate_w"])


def test_a_reduction_has_its_rivals_numbers_and_no_other_under_a_recipe_too(digits):
    _, jobs = variants_of(digits, "--recipe=authors2025", "--notrain_on_val")
    assert "clip_norm" in jobs[variants.DEFAULT].numbers and "clip_norm" not in jobs["sgd"].numbers
    for name, (rival, _) in variants.REDUCTIONS.items():
        numbers, rivals = jobs[name].numbers, jobs[rival].numbers
        assert jobs[name].circuit == jobs[rival].circuit and rivals.items() <= numbers.items()
        assert not {*numbers} - {*rivals} & {*OPTIONAL}  # what else SAM has is of pathways that are not there


def test_variants_may_be_a_point_below_the_default_and_reductions_not_at_all(digits):
    tags, _ = variants_of(digits, "--factors=1,0.1,0.3")
    of_one = variants.tried(results(rows({name: [50] for name in tags}), tags), "mine", "d̄ = 2d")
    assert [tags[arm]["factor"] for arm in of_one] == [0.1, 0.3, 1]
    same = {name: [50, 50, 50] for pair in variants.REDUCTIONS.items() for name in (pair[0], pair[1][0])}
    slow = {name: [1, 1, 1] for name, tag in tags.items() if tag.get("factor", 1) != 1}  # worse, and so not chosen
    fine = {variants.DEFAULT: around(50)} | {arm: [49.5, 49.5, 49.5] for arm in variants.VARIANTS[1:]} | same | slow

    def outcomes(**changed):
        ordered = {name: (fine | changed)[name] for name in tags}
        return [v.outcome for v in variants.judge(results(rows(ordered), tags), "mine")]

    assert outcomes() == ["holds"] * 4
    short = outcomes(**{"d̄ = 2d": [48, 48, 48]})
    assert short == ["undecided", "holds", "holds", "holds"]  # its best factor is the largest: one beyond may do better
    between = {f"{arm}, rates × 0.3": [48, 48, 48] for arm in variants.WIDTHS} | {
        arm: [47] * 3 for arm in variants.WIDTHS
    }
    assert outcomes(**between) == ["does not hold", "holds", "holds", "holds"]
    assert outcomes(**between, **{"d̄ = 2d, rates × 0.1": [None] * 3})[0] == "does not hold"  # the others decide
    assert outcomes(**between, **{f"{arm}, rates × 0.1": [None] * 3 for arm in variants.WIDTHS})[0] == "undecided"
    lost = {name: [None] * 3 for name, tag in tags.items() if tag.get("variant") == "D_d = tanh"}
    assert outcomes(**lost)[1] == "undecided"
    assert outcomes(**{"S_post plain": [49, 49, 49]})[2] == "undecided"
    assert outcomes(fa=[50, 50, 50.0001])[3] == "does not hold"
    assert outcomes(fa=[50, 50, None])[3] == "does not hold"
    assert outcomes(fa=[50, 50])[3] == "undecided"
    slower = {"S_post plain": [None] * 3, "S_post plain, rates × 0.3": [49.5, 49.5, 49.5]}
    assert outcomes(**slower) == ["holds"] * 4  # its best factor counts


def test_a_variants_best_factor_is_chosen_on_validation(digits):
    tags, _ = variants_of(digits)
    found = rows({name: [50, 50] for name in tags} | {"D_d = relu, rates × 0.1": [40, 40]})
    for r in found:
        r["val_accuracy"] = 0.55 if r["arm"] in variants.VARIANTS else 0.5
        r["val_accuracy"] = 0.6 if r["arm"] == "D_d = relu, rates × 0.1" else r["val_accuracy"]
    best = variants.chosen(results(found, tags), "mine")
    assert best.pop("D_d = relu") == "D_d = relu, rates × 0.1" and all(name == arm for name, arm in best.items())


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
            for i, pathway in enumerate(PATHWAYS):
                if marks[i]:
                    plastic = marks[4 + i] and (rule, pathway) != wrong
                    columns[f"{pathway}_projection"] = [1.0 - 0.1 * epoch, 0.5 * epoch if plastic else 0.0]
            found += [row(rule, seed, epoch, 90, **columns) for seed in (0, 1)]
        for i, pathway in enumerate(PATHWAYS):
            if marks[i]:
                found += [row(table2.lesioned(rule, pathway), seed, 1, 70) for seed in (0, 1)]
    return found


def test_table_2_is_the_papers_computed_and_simulated():
    for rule, marks in paper.TABLE2.items():
        assert tuple(compatibility_table()[rule].values()) == marks
    found = results(table2_rows())
    for rule, marks in compatibility_table().items():
        assert {c: tick for c, (tick, _) in table2.simulate(found, "mine", rule).items()} == marks
    assert table2.judge(found, "mine").outcome == "holds"


def test_table_2_fails_by_one_entry_and_is_undecided_without_a_run():
    held = table2.judge(results(table2_rows(wrong=("sam", "v"))), "mine")
    assert held.outcome == "does not hold" and f"differ: SAM, {CRITERIA[6]}" in held.ours
    no_lesion = results([r for r in table2_rows() if r["arm"] != "SAM without V̄"])
    assert table2.simulate(no_lesion, "mine", "sam")[CRITERIA[3]] == (None, None)
    assert table2.judge(no_lesion, "mine").outcome == "undecided"
    useless = [r | {"test_loss": 0.9} if r["arm"] == "SAM without V̄" else r for r in table2_rows()]
    assert f"differ: SAM, {CRITERIA[3]}" in table2.judge(results(useless), "mine").ours


def test_every_stored_pathway_of_every_rule_is_lesioned_once(digits):
    options = options_of(table2.EXPERIMENT)
    of_table = table2.arms(options, digits)
    stored = {name: RULES[name](widths=(2, 2, 2)).stored for name in RULES}
    assert set(of_table) == set(RULES) | {table2.lesioned(rule, p) for rule in RULES for p in stored[rule]}
    job = arms.settle(options, digits, "cut", of_table["Weight Mirroring without W̄"])
    assert job.protocol.interventions == (("lesion", "w_bar", 0),)
