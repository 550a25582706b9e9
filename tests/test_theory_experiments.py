"""predictions.py and theory.py: a short run of each, and their verdicts on rows whose answer is known."""

import json
import pathlib

import numpy as np
import official_files as files
import pytest

from sam_jax import lab
from sam_jax.experiments import theory, theory_report, verdicts
from sam_jax.lab import results

SMALL = ("--epochs=2", "--batch_size=16", "--seeds=2", "--hidden_widths=6,5", "--evaluate_every=1")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two steps of 16 images, three classes, 4 x 3 pixels."""
    path = tmp_path_factory.mktemp("images") / "mine.npz"
    files.write_npz(path, files.examples(36, (4, 3, 1), 3), files.examples(10, (4, 3, 1), 3, seed=1))
    return path


@pytest.fixture
def predictions():
    from sam_jax.experiments import predictions

    return predictions


def run(script, *arguments):
    lab.main(script.EXPERIMENT, [script.__file__, *arguments])


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def at(rows, arm, epoch, column):
    return [row[column] for row in rows if (row["arm"], row["epoch"]) == (arm, epoch)]


@pytest.mark.slow
def test_predictions_freezes_and_silences_and_computes_nothing_twice(predictions, images, tmp_path):
    folder = tmp_path / "out"
    manipulated = ("--freeze=v_bar@1,v@0+v_bar@0", "--lesion=v_bar@1")
    flags = (f"--dataset={images}", *manipulated, *SMALL, f"--out_dir={folder}")
    run(predictions, *flags)
    arms = ("intact", "V̄ frozen at 1", "V frozen at 0, V̄ frozen at 0", "V̄ silenced at 1")
    rows = rows_of(folder)
    assert len(rows) == 4 * 2 * 3 and {row["arm"] for row in rows} == set(arms)  # arms, seeds, epochs 0 to 2
    assert (folder / "predictions_mine.png").stat().st_size > 10_000
    frozen, both, silenced = arms[1:]
    for column in ("h_effective_rank", "h_trace_mean", "h_top", "h_condition"):
        assert at(rows, frozen, 1, column) == at(rows, frozen, 2, column)  # H stays what it was
        assert at(rows, both, 0, column) == at(rows, both, 2, column)
        assert at(rows, "intact", 1, column) != at(rows, "intact", 2, column)
        assert at(rows, frozen, 1, column) == at(rows, "intact", 1, column)  # and was the intact circuit's
    assert at(rows, silenced, 2, "h_trace_mean") == [[0, 0]] * 2
    assert [v.claim for v in verdicts.read(folder)] == ["predictions"] * 3
    before = (folder / "metrics.jsonl").read_bytes()
    run(predictions, *flags)
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_a_manipulation_after_the_last_epoch_is_refused(predictions, images, tmp_path):
    with pytest.raises(SystemExit) as ended:
        run(predictions, f"--dataset={images}", "--freeze=v@2", *SMALL, f"--out_dir={tmp_path / 'out'}")
    assert "--freeze=v@2: expected an epoch before the last, 2" in ended.value.code  # a text: status 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("losses", "outcome"),
    [
        ((3.0, 3.5, 4.0), "holds"),
        ((-3.0, -3.5, -4.0), "does not hold"),
        ((0.0, 0.0, 0.0), "does not hold"),  # no change at all is no loss
        ((3.0, -3.0, 1.0), "undecided"),
        ((3.0, None, None), "undecided"),  # one pair left
        ((-3.0, -3.5, -4.0, None), "undecided"),  # above the intact circuit by those that are left
    ],
)
def test_predictions_holds_only_where_all_of_the_interval_is_a_loss(predictions, losses, outcome):
    done = {"intact": [], "V̄ frozen at 1": [["freeze", "v_bar", 1]], "W̄ frozen at 1": [["freeze", "w_bar", 1]]}
    manifest = {
        "data": {"mine": {"sizes": {"train": 33}, "measure": "accuracy"}},
        "cells": {"mine": {arm: {"title": arm, "protocol": {"interventions": what}} for arm, what in done.items()}},
    }
    rows = []
    still = (0,) * len(losses)
    for arm, change in (("intact", still), ("V̄ frozen at 1", losses), ("W̄ frozen at 1", still)):
        for seed, lost in enumerate(change):
            accuracy = None if lost is None else (50 + seed - lost) / 100
            row = {"dataset": "mine", "arm": arm, "seed": seed, "epoch": 2, "test_accuracy": accuracy}
            rows.append(row | {"diverged": lost is None, "h_effective_rank": [4.0 if arm == "intact" else 6.0, 8.0]})
    found = results.Results(pathlib.Path("out"), manifest, rows)
    (verdict,) = predictions.judge(found, "mine")  # W̄ is a comparison, no verdict
    assert (verdict.claim, verdict.outcome) == ("predictions", outcome)
    assert "effective rank of H − intact: +1.00" in verdict.ours and "W̄ frozen at 1 − intact: +0.00" in verdict.ours


@pytest.fixture(scope="module")
def theory_run(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("theory") / "out"
    flags = (f"--dataset={images}", "--train_images=33", *SMALL, f"--out_dir={folder}")
    run(theory, *flags)
    return folder, flags


@pytest.mark.slow
def test_theory_leaves_its_figure_and_a_verdict_on_each_claim(theory_run):
    folder, _ = theory_run
    claims = [v.claim for v in verdicts.read(folder)]
    assert claims == ["lemma1", "theorem3", "theorem3", "proposition1"]
    assert (folder / "theory_mine.png").stat().st_size > 10_000
    rows = rows_of(folder)
    assert len(rows) == 7 * 2 * 3
    for row in rows:
        assert all(
            len(row[column]) == 2 for column in ("theorem_cosine", "example_theorem_cosine", "v_residual", "gap")
        )


@pytest.mark.slow
def test_lemma_1_follows_the_closed_form_in_a_real_run(theory_run):
    """4 steps of a cosine: s = 1, 0.8536, 0.5, 0.1464; γ = 2e-3."""
    rows = rows_of(theory_run[0])
    left = np.prod([1 - 2e-3 * 0.5 * (1 + np.cos(np.pi * t / 4)) for t in range(4)])
    for arm, column, expected in (
        ("d̄ = d", "gap", left),
        ("γ = 0", "gap", 1.0),
        ("η_V̄ = 4 η_V", "scaled_gap", left),
    ):
        ratio = np.array(at(rows, arm, 2, column)) / np.array(at(rows, arm, 0, column))
        np.testing.assert_allclose(ratio, expected, rtol=1e-5, err_msg=arm)
    assert verdicts.read(theory_run[0])[0].outcome == "holds"


@pytest.mark.slow
def test_a_second_start_of_theory_computes_nothing_again(theory_run):
    folder, flags = theory_run
    files = [folder / name for name in ("metrics.jsonl", "proposition1.json")]
    before = [file.read_bytes() for file in files]
    run(theory, *flags)
    assert [file.read_bytes() for file in files] == before


@pytest.mark.slow
def test_theorys_verdicts_on_constructed_rows(theory_run):
    """A cosine of 0.99 in every layer holds, one layer of 0.9 does not, and V on the move tests nothing.

    One step of a rising loss is one too many.
    """
    folder, _ = theory_run
    manifest = json.loads((folder / "manifest.json").read_text())
    falling, rising = [[3.0, 2.0, 1.0]] * 2, [[3.0, 2.0, 2.5], [3.0, 2.0, None]]

    def outcomes(cosines, gap_factor, curve, residual=0.05):
        rows = rows_of(folder)
        for row in rows:
            row["theorem_cosine"] = [c + 1e-3 * row["seed"] for c in cosines]
            row["v_residual"], row["v_bar_residual"] = [0.0, residual], [0.0, 0.0]
            row["gap"] = [g * (gap_factor if row["epoch"] else 1) for g in row["gap"]]
        curves = {theory_report.DEFINITE: curve, theory_report.INDEFINITE: rising}
        found = theory_report.judge(results.Results(folder, manifest, rows), "mine", curves)
        return [v.outcome for v in found]

    assert outcomes((0.99, 0.98), 1, falling) == ["holds"] * 4
    assert outcomes((0.99, 0.98), 1, falling, residual=0.11) == ["holds", "undecided", "undecided", "holds"]
    assert outcomes((0.99, 0.9), 1, falling) == ["holds", "does not hold", "does not hold", "holds"]
    assert outcomes((0.99, 0.949), 1.01, rising) == ["does not hold", "undecided", "undecided", "does not hold"]


@pytest.mark.slow
def test_lemma_1_is_undecided_where_every_seed_diverges_at_once(theory_run):
    folder, _ = theory_run
    found = results.Results.read(folder)
    rows = [row | {"diverged": row["arm"] == theory_report.EQUAL and row["epoch"] > 0} for row in found.rows]
    curves = json.loads((folder / theory.DESCENTS).read_text())["mine"]
    assert theory_report.judge(found._replace(rows=rows), "mine", curves)[0].outcome == "undecided"
