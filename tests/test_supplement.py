"""The experiments of the supplement's figures: two steps of each, and their verdicts on rows with known answers."""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import official_files as files
import pytest

import sam_jax as sj
from sam_jax import lab, training
from sam_jax.data import datasets
from sam_jax.experiments import fig_s1a_representations as s1a
from sam_jax.experiments import fig_s1b_stationarity as s1b
from sam_jax.experiments import fig_s1d_overparametrization as s1d
from sam_jax.lab import arms, flags
from sam_jax.lab.results import Results


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A user's own file: two steps of 16 images, three classes, 4 x 3 pixels."""
    path = tmp_path_factory.mktemp("images") / "mine.npz"
    files.write_npz(path, files.examples(36, (4, 3, 1), 3), files.examples(10, (4, 3, 1), 3, seed=1))
    return path


@pytest.fixture
def run(images, tmp_path, monkeypatch):
    """`run(experiment, *flags)` runs it in one folder: its rows and the names of the files that it left.

    The second time, nothing is trained again.
    """
    trained, plain = [], training.train

    def spy(*arguments):
        trained.append(arguments)
        return plain(*arguments)

    monkeypatch.setattr(training, "train", spy)
    folder = tmp_path / "out"

    def start(experiment, *flags):
        small = ("--batch_size=16", "--seeds=2", f"--out_dir={folder}")
        argv = [f"{experiment.name}.py", f"--dataset={images}", *small, *flags]
        lab.main(experiment, argv)
        made = (folder / "metrics.jsonl").read_text()
        assert trained
        trained.clear()
        lab.main(experiment, argv)
        assert not trained and (folder / "metrics.jsonl").read_text() == made
        names = {path.name for path in folder.iterdir()}
        assert {"manifest.json", "table.md", "table.csv", "verdicts.json"} <= names
        return [json.loads(line) for line in made.splitlines()], names

    return start


@pytest.fixture
def cells(tmp_path):
    """What the manifest of `run` says of the arms."""
    return lambda: json.loads((tmp_path / "out" / "manifest.json").read_text())["cells"]["mine"]


def results(cells, rows):
    """Two epochs on a set of ten classes."""
    every = {arm: {"title": arm, "tags": {}, "protocol": {"epochs": 2}, **cell} for arm, cell in cells.items()}
    facts = {"measure": "accuracy", "chance": {"accuracy": 10.0}, "sizes": {"train": 100}}
    return Results(pathlib.Path("out"), {"cells": {"mine": every}, "data": {"mine": facts}}, rows)


def row(arm, seed, accuracy=None, epoch=2, **columns):
    """A row whose three splits are all of that accuracy; None is a run that diverged."""
    accuracies = {f"{split}_accuracy": accuracy for split in ("train", "val", "test")}
    lost = accuracy is None
    return {"dataset": "mine", "arm": arm, "seed": seed, "epoch": epoch, "diverged": lost, **accuracies, **columns}


WIDTHS = {f"relu {ratio:g}": {"tags": {"activation": "relu", "ratio": ratio}} for ratio in (0.25, 1.0, 7.5, 10.0)}


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
    found = s1d.verdict(results(WIDTHS, rows), "mine", "relu")
    assert (found.claim, found.outcome) == ("s1d", outcome)
    assert s1d.verdict(results(WIDTHS, rows), "mine", "tanh") is None


@pytest.mark.slow
def test_widths_are_run_and_drawn_with_divided_rates(run, cells):
    flags = ("--epochs=1", "--hidden_widths=9,9", "--width=4", "--ratios=0.5,2", "--activations=tanh", "--rate_v_bar=1")
    _, files = run(s1d.EXPERIMENT, *flags)
    assert "overparametrization_mine.png" in files
    found = list(cells().values())
    shapes = [(c["circuit"]["widths"][1:-1], c["circuit"]["downstream_widths"]) for c in found]
    assert shapes == [([4, 4], [2, 2]), ([4, 4], [8, 8])]
    assert [c["numbers"]["rate_v_bar"] for c in found] == [1.0, 0.5]
    assert len({c["numbers"]["rate_w_bar"] for c in found}) == 1


@pytest.mark.slow
def test_widths_stand_beside_a_rule_and_under_a_factor(run, cells):
    flags = ("--epochs=1", "--hidden_widths=4", "--width=4", "--ratios=2", "--activations=tanh", "--rate_v_bar=1")
    rows, _ = run(s1d.EXPERIMENT, *flags, "--rate_factor=0.5", "--rules=sgd")
    assert {r["arm"] for r in rows} == {"tanh, d̄ = 2 d", "sgd"}
    assert cells()["tanh, d̄ = 2 d"]["numbers"]["rate_v_bar"] == 0.25  # 1 · 0.5 / 2


@pytest.mark.parametrize("flag", ["--divided=u", "--activations=relo", "--ratios=0"])
def test_widths_refuse_what_they_do_not_know(images, tmp_path, flag):
    with pytest.raises(SystemExit, match=flag.split("=")[0]):
        lab.main(s1d.EXPERIMENT, ["s1d.py", f"--dataset={images}", f"--out_dir={tmp_path / 'out'}", flag])
    assert not (tmp_path / "out").exists()


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
    found = s1a.verdict(results({"SAM": {}}, rows), "mine", measure)
    assert (found.claim, found.outcome) == ("s1a", outcome)
    assert "seed 9 diverged" in found.ours and "n = 3" in found.ours


def test_the_entropies_are_those_of_the_gram_matrices():
    """Eigenvalues 9 and 1 of V̄V̄ᵀ: 0.9 and 0.1 of their sum; a W whose Gram matrix is I has ln 2."""
    matrix, turn = jnp.diag(jnp.array([3.0, 1.0])), jnp.array([[0.6, 0.8], [-0.8, 0.6]])
    synapses = sj.Synapses(w=(jnp.zeros((2, 3)), turn, jnp.zeros((1, 2))), v_bar=(turn @ matrix, turn))
    found = s1a.probe(None, None, synapses)
    wanted = [-0.9 * np.log(0.9) - 0.1 * np.log(0.1), np.log(2)]
    np.testing.assert_allclose(found["v_bar_entropy"], wanted, rtol=1e-5)
    np.testing.assert_allclose(found["w_entropy"], [np.log(2)], rtol=1e-5)


@pytest.mark.slow
def test_representations_are_probed_and_drawn(run):
    flags = ("--epochs=2", "--hidden_widths=6,6,6", "--evaluate_every=1")
    rows, files = run(s1a.EXPERIMENT, *flags)
    assert "representations_mine.png" in files
    first = next(r for r in rows if r["arm"] == "SAM")
    assert len(first["v_bar_effective_rank"]) == 3 and len(first["w_effective_rank"]) == 2
    assert len(first["v_bar_gram"]) == 6 * 7 / 2 and first["v_bar_spectrum"][0] == 1
    assert not any("v_bar_gram" in r for r in rows if r["arm"] == "SGD")


@pytest.mark.slow
def test_the_factor_reaches_the_rates_of_the_representations(run, cells):
    run(s1a.EXPERIMENT, "--epochs=1", "--hidden_widths=4,4", "--rate_factor=0.5")
    numbers = cells()["SAM"]["numbers"]
    assert numbers["rate_w"] == s1a.RATES["rate_w"] / 2 and numbers["decay"] == s1a.RATES["decay"] / 2
    assert numbers["scale_w"] == s1a.SCALES["scale_w"]


@pytest.mark.parametrize("widths", ["4,5", "4"])
def test_representations_need_layers_of_one_width(images, tmp_path, widths):
    flags = (f"--dataset={images}", "--batch_size=16", f"--out_dir={tmp_path / 'out'}", f"--hidden_widths={widths}")
    with pytest.raises(SystemExit, match=f"hidden_widths is {widths}, expected two layers or more"):
        lab.main(s1a.EXPERIMENT, ["s1a.py", *flags])


@pytest.mark.parametrize(
    ("given", "names"), [((), [s1b.CONSTANT, s1b.COSINE]), (("--recipe=authors2025",), [s1b.CONSTANT])]
)
def test_a_constant_schedule_is_run_as_it_is(given, names):
    """Beside the cosine it takes half of the rates."""
    options = flags.parse(s1b.EXPERIMENT, ["s1b", "--dataset=digits", "--noconfigs", "--rate_w=0.5", *given])
    data = datasets.load("digits")
    found = s1b.arms(options, data)
    settled = arms.settle(options, data, s1b.CONSTANT, found[s1b.CONSTANT])
    assert list(found) == names and settled.protocol.schedule == "constant"
    assert settled.numbers["rate_w"] == (0.5 if given else 0.25)


@pytest.mark.parametrize(("late", "outcome"), [(0.5, "holds"), (2.0, "does not hold")])
def test_steps_are_judged_between_the_first_and_the_last_quarter(late, outcome):
    cells = {s1b.CONSTANT: {"protocol": {"epochs": 4}}}
    rows = []
    for seed in range(3):
        steps, losses = [9.0, 1.0, 1.0, 1.0, late + 0.1 * seed], [20.0, 3.0, 2.0, 2.0, 2.0 - late - 0.1 * seed]
        for epoch in range(5):
            columns = {"v_bar_step": [steps[epoch]] * 2, "train_loss": losses[epoch] / 17}
            rows.append(row(s1b.CONSTANT, seed, 0.5, epoch, **columns))
    found = s1b.verdict(results(cells, rows), "mine", {"v_bar_step": "‖ΔV̄‖"}, "so")
    assert (found.claim, found.outcome) == ("s1b", outcome)
    changes = s1b.series(results(cells, rows), "mine", s1b.CONSTANT, "loss_change")
    assert changes[0] == pytest.approx({1: 1.0, 2: 1 / 17, 3: 0.0, 4: late / 17})
    lost = [row(s1b.CONSTANT, 0, None, 4) if r["seed"] == 0 and r["epoch"] == 4 else r for r in rows]
    assert s1b.shrinkage(results(cells, lost), "mine", s1b.CONSTANT, "v_bar_step").lost == 1


@pytest.mark.slow
def test_stationarity_is_probed_and_drawn(run):
    """The constant arm has half the numbers: at the start, where both arms are alike, its step is half as large."""
    rows, files = run(s1b.EXPERIMENT, "--epochs=2", "--hidden_widths=6,5")
    assert "stationarity_mine.png" in files
    start = {r["arm"]: r for r in rows if r["seed"] == 0 and r["epoch"] == 0}
    assert start["constant rate"]["v_bar_step"] == pytest.approx(
        [size / 2 for size in start["cosine"]["v_bar_step"]], rel=1e-3, abs=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize(("flag", "decay"), [("--nodecay_times_rate", 0.25), ("--decay_times_rate", 1.0)])
def test_the_constant_rate_is_half_of_what_the_factor_leaves(run, cells, flag, decay):
    """Where the rate scales the decay, neither factor scales it again; a rule beside the arms has no V̄ to probe."""
    rows, _ = run(
        s1b.EXPERIMENT,
        *("--epochs=1", "--hidden_widths=4", "--rate_factor=0.5", "--rules=sgd", flag),
        *("--rate_v_bar=0.4", "--rate_w=0.1", "--decay=0.001"),
    )
    assert not any("v_bar_step" in row for row in rows if row["arm"] == "sgd")
    numbers = cells()[s1b.CONSTANT]["numbers"]
    assert (numbers["rate_v_bar"], numbers["rate_w"]) == pytest.approx((0.1, 0.025))
    assert numbers["decay"] == pytest.approx(0.001 * decay)
