"""The authors' protocol beside a decayed SGD: what each arm is, and what is said of rows with known answers."""

import pathlib

import official_files as files
import pytest

import sam_jax as sj
from sam_jax import lab
from sam_jax.experiments import protocol
from sam_jax.lab import arms, flags
from sam_jax.lab.results import Results

TITLES = {protocol.SGD: "SGD, no decay", protocol.SAM: "SAM, authors2025"}


def rows(accuracies):
    """`accuracies[arm][seed]`: test accuracies in percent by epoch, None where it has diverged."""
    found = []
    for arm, seeds in accuracies.items():
        for seed, epochs in enumerate(seeds):
            for epoch, value in enumerate(epochs):
                value = None if value is None else value / 100
                columns = {"test_accuracy": value, "train_accuracy": value, "train_loss": value, "seconds": 1.0}
                row = {"dataset": "cifar10", "arm": arm, "seed": seed, "epoch": epoch, "diverged": value is None}
                found.append(row | columns)
    return found


def results(accuracies, folder="out"):
    cells = {arm: {"title": TITLES.get(arm, arm), "tags": {}} for arm in accuracies}
    facts = {
        "measure": "accuracy",
        "chance": {"accuracy": 10.0},
        "sizes": {"train": 50000, "val": 0, "test": 10000},
        "published": {"accuracy": {"sgd": 50.36, "sam": 51.91}},
        "remark": "",
    }
    manifest = {"cells": {"cifar10": cells}, "data": {"cifar10": facts}}
    return Results(pathlib.Path(folder), manifest, rows(accuracies))


OVERFITTED = {  # SGD falls from its peak, SAM stands on its own
    "sgd": [(10, 53.0, 51.0), (10, 53.5, 51.2), (10, 53.2, 51.1)],
    "sam": [(10, 50.0, 51.8), (10, 50.4, 51.9), (10, 50.1, 51.8)],
    "SGD, decay 5e-3": [(10, 53.1, 53.0), (10, 53.6, None), (10, 53.3, 53.1)],
}


def test_the_best_epoch_is_each_seeds_own_and_a_diverged_seed_has_none():
    found = results(OVERFITTED)
    best = protocol.best(found, "cifar10", "sgd")
    assert {seed: (round(accuracy, 6), epoch) for seed, (accuracy, epoch) in best.items()} == {
        0: (53.0, 1),
        1: (53.5, 1),
        2: (53.2, 1),
    }
    assert protocol.best(found, "cifar10", "SGD, decay 5e-3").keys() == {0, 2}


def test_the_page_says_last_and_best_and_the_verdict_is_of_the_last(tmp_path):
    found = results(OVERFITTED, tmp_path)
    protocol.write(tmp_path / "protocol.md", found)
    protocol.draw(tmp_path / "protocol.png", found)
    text = (tmp_path / "protocol.md").read_text(encoding="utf-8")
    assert "| SGD, no decay | 51.10 ± 0.10 | 53.23 ± 0.25 | 1 | 51.10 ± 0.10 | 50.36 |" in text
    assert "| SGD, decay 5e-3 (1 of 3 diverged) | 53.05 ± 0.07 |" in text
    assert "SAM, authors2025 − SGD, no decay, last epoch: +0.73 points" in text
    assert "SAM, authors2025 − SGD, no decay, each at its best epoch: -1.40 points" in text
    assert protocol.judge(found, "cifar10")[0::4] == ("table1", "holds")
    assert (tmp_path / "protocol.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "kp, outcome",
    [([(50.0,)] * 3, "holds"), ([(53.0,)] * 3, "does not hold"), ([(50.0,), (54.0,), (52.0,)], "undecided")],
)
def test_sam_is_above_the_other_rules_only_where_it_is_above_each(kp, outcome):
    below = {"sam": [(52.0,), (52.1,), (52.2,)], "fa": [(48.0,), (48.2,), (48.1,)], "wm": [(49.0,), (49.1,), (49.2,)]}
    assert protocol.rivals(results({**below, "kp": kp}), "cifar10").outcome == outcome
    assert protocol.rivals(results(below), "cifar10") is None


def angles(revised, plain):
    """Results of one last epoch: v_angle by seed, of two hidden layers."""
    found = results({protocol.SAM2026: [(50,)] * 3, protocol.SAM: [(50,)] * 3})
    for row in found.rows:
        row["v_angle"] = (revised if row["arm"] == protocol.SAM2026 else plain)[row["seed"]]
    for arm in found.manifest["cells"]["cifar10"].values():
        arm["protocol"] = {"epochs": 0}
    return found


def test_lemma_1_is_judged_by_the_worst_layer_of_the_arm_with_equal_rates():
    small, large = [[1, 5], [2, 6], [2, 7]], [[1, 55], [2, 60], [2, 65]]
    verdict = protocol.transposed(angles(small, large), "cifar10")
    assert verdict[0::4] == ("lemma1", "holds")
    assert "SAM, authors2026: 6.00 [3.52, 8.48]°" in verdict.ours and "SAM, authors2025: 60.00" in verdict.ours
    assert protocol.transposed(angles(large, small), "cifar10").outcome == "does not hold"
    assert protocol.transposed(angles([[1, 8], [1, 18], [1, 28]], small), "cifar10").outcome == "undecided"
    assert protocol.transposed(results(OVERFITTED), "cifar10") is None


def test_each_arm_is_what_its_name_says():
    options = flags.parse(protocol.EXPERIMENT, ["protocol.py", "--dataset=digits"])
    digits = sj.load("digits")
    jobs = {name: arms.settle(options, digits, name, arm) for name, arm in protocol.arms(options, digits).items()}
    plain = jobs["sgd"].numbers
    assert plain["decay"] == 0 and "momentum_kept" not in plain and "clip_norm" not in plain
    for name, decay in protocol.DECAYED.items():
        assert jobs[name].numbers == {**plain, "decay": pytest.approx(5e-3 * decay)}
    assert set(jobs["sam"].circuit.gated) == {"w", "w_bar", "v"}
    revised = jobs[protocol.SAM2026]
    assert set(revised.circuit.gated) == set(sj.PATHWAYS) and revised.numbers["decay_v"] == pytest.approx(5e-5)
    assert all(job.protocol.epochs == 50 and job.protocol.last_batch for job in jobs.values())


@pytest.mark.slow
def test_two_steps_leave_a_page(tmp_path):
    path = files.write_npz(tmp_path / "mine.npz", files.examples(36, (4, 3, 1), 3), files.examples(10, (4, 3, 1), 3, 1))
    small = ("--epochs=1", "--batch_size=16", "--seeds=2", "--hidden_widths=4", f"--out_dir={tmp_path / 'out'}")
    lab.main(protocol.EXPERIMENT, ["protocol.py", f"--dataset={path}", *small])
    assert {"protocol.md", "protocol.png", "table.md"} <= {file.name for file in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize(
    ("given", "title"), [((), "SGD, no decay"), (("--recipe=", "--decay=0.01"), "SGD, its own decay")]
)
def test_sgd_is_called_without_decay_only_where_it_has_none(given, title):
    options = flags.parse(protocol.EXPERIMENT, ["protocol.py", "--dataset=digits", *given])
    assert protocol.arms(options, sj.load("digits"))["sgd"].title == title


def test_the_revised_release_is_no_second_arm_beside_itself():
    options = flags.parse(protocol.EXPERIMENT, ["protocol.py", "--dataset=digits", "--recipe=authors2026"])
    assert protocol.SAM2026 not in protocol.arms(options, sj.load("digits"))
