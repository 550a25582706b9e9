"""`--tune`: all rules have the same factors on validation images; what is chosen is used, told, not chosen twice."""

import json
import os
import pathlib
import shutil
import signal
import time

import numpy as np
import pytest

import sam_jax as sj
from sam_jax import lab
from sam_jax.experiments import table1
from sam_jax.lab import flags, records, tune
from sam_jax.lab import trials as lab_trials
from sam_jax.lab.run import plan, unsearched

SMALL = ("--rules=sgd,kp", "--epochs=3", "--seeds=3", "--hidden_widths=9", "--batch_size=100")


@pytest.fixture
def chooses(monkeypatch):
    """Scores by hand, by factor; None where a seed diverges; returns the jobs that were asked.

    In short runs sgd is best at 4, kp at 0.5 and as good at 1. In whole ones sgd loses a seed at 4 and is best at 1;
    kp's 0.5 is better than what is below it.
    """
    asked = []
    short = {"sgd": [0.1, 0.2, 0.3, 0.4, 0.5, 0.1], "kp": [0.3, 0.6, 0.6, 0.1, 0.1, 0.1]}
    whole = {"sgd": {4: None, 2: 0.2, 1: 0.7, 0.5: 0.4}, "kp": {0.5: 0.8, 0.25: 0.7}}

    def in_parts(job, trials, data, seeds, stop):
        asked.append((job, trials, set(data.splits), seeds))
        name = job.rule.name
        factors = [trial["rate_w"] / job.rule.settle()["rate_w"] for trial in trials]
        known = dict(zip(tune.FACTORS, short[name], strict=True)) if job.protocol.epochs == 1 else whole[name]
        found = []
        for factor in factors:
            value = known[round(factor, 4)]
            rows = [{"diverged": False, "val_accuracy": value}] * len(seeds)
            lost = [{"diverged": False, "val_accuracy": 0.9}] * (len(seeds) - 1) + [{"diverged": True}]  # the last
            found.append(rows if value else lost)
        yield range(len(trials)), found

    monkeypatch.setattr(tune, "in_parts", in_parts)
    return asked


def main(folder, *given):
    lab.main(table1.EXPERIMENT, ["table1.py", *SMALL, f"--out_dir={folder}", *given])


def test_the_chosen_factor_is_used_told_and_kept(chooses, tmp_path, capsys):
    main(tmp_path / "out", "--tune")
    tried = [(job.rule.name, job.protocol.epochs, len(trials)) for job, trials, *_ in chooses]
    assert tried == [("sgd", 1, 6), *[("sgd", 3, 1)] * 4, ("kp", 1, 6), *[("kp", 3, 1)] * 2]
    for job, trials, splits, seeds in chooses:
        assert splits == {"train", "val"} and seeds == ([0, 1] if job.protocol.epochs == 1 else [0, 1, 2])
        assert job.protocol.warmup_epochs == pytest.approx(2 * job.protocol.epochs / 3)
        own = job.rule.settle()
        factors = tune.FACTORS if job.protocol.epochs == 1 else [trials[0]["rate_w"] / own["rate_w"]]
        for factor, trial in zip(factors, trials, strict=True):
            assert trial == pytest.approx(job.rule.settle(factor=factor))
            assert trial["scale_w"] == own["scale_w"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    cells = manifest["cells"]["digits"]
    assert cells["sgd"]["numbers"]["rate_w"] == pytest.approx(sj.sgd.numbers["rate_w"])
    assert cells["kp"]["numbers"]["decay"] == pytest.approx(0.5 * sj.kp.numbers["decay"])
    chosen, chance = manifest["tuned"]["digits"], manifest["data"]["digits"]["chance"]["accuracy"]
    assert chosen["sgd"] == {
        "factor": 1.0,
        "epochs": 1,
        "seeds": 2,
        "scores": dict(zip(map(str, tune.FACTORS), [10.0, 20.0, 30.0, 40.0, 50.0, 10.0], strict=True)),
        # At 4 the mean of 90, 90 and chance is more than what 2 has, and still 2 and what is below it are tried.
        "whole": {"4.0": pytest.approx((180 + chance) / 3, abs=1e-3), "2.0": 20.0, "1.0": 70.0, "0.5": 40.0},
        "whole_seeds": 3,
    }
    assert chosen["kp"]["factor"] == 0.5 and chosen["kp"]["whole"] == {"0.5": 80.0, "0.25": 70.0}
    text = (tmp_path / "out" / "table.md").read_text()
    assert (
        "in runs of 1 epochs and 2 seeds, the best and the next lower then in whole runs of 3 seeds: sgd 1, kp 0.5."
        in text
    )


def test_a_second_start_chooses_nothing_again_and_other_numbers_are_refused(chooses, tmp_path):
    main(tmp_path / "out", "--tune")
    before = (tmp_path / "out" / "metrics.jsonl").read_bytes()
    chooses.clear()
    main(tmp_path / "out", "--tune")
    assert not chooses and (tmp_path / "out" / "metrics.jsonl").read_bytes() == before
    rate = sj.kp.numbers["rate_w"]
    with pytest.raises(SystemExit, match=rf"digits, kp whose numbers\.rate_w is {rate / 2:g}, now {rate:g}"):
        main(tmp_path / "out")


def test_a_rule_that_comes_later_is_chosen_for_alone(chooses, tmp_path):
    main(tmp_path / "out", "--tune", "--rules=sgd")
    chooses.clear()
    main(tmp_path / "out", "--tune")
    assert {job.rule.name for job, *_ in chooses} == {"kp"}
    manifest, rows = records.read(tmp_path / "out")
    assert {rule: one["factor"] for rule, one in manifest["tuned"]["digits"].items()} == {"sgd": 1.0, "kp": 0.5}
    assert {row["arm"] for row in rows} == {"sgd", "kp"}


@pytest.mark.slow
def test_a_choice_that_was_stopped_goes_on_with_the_trials_that_are_missing(tmp_path, monkeypatch):
    """A signal while the second of six factors is tried: two are kept, and a line that was cut short is not read."""
    trained, plain = [], lab_trials.trials_at_once

    def spy(job, given, data, seeds):
        trained.append(len(given))
        if len(trained) == 2 and (tmp_path / "parts").exists():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.3)  # for the thread that listens
        return plain(job, given, data, seeds)

    monkeypatch.setattr(lab_trials, "trials_at_once", spy)
    monkeypatch.setattr(lab_trials, "parts", lambda job, count, seeds: [range(i, i + 1) for i in range(count)])
    main(tmp_path / "whole", "--rules=sgd", "--tune")
    every = len(trained)
    assert every >= 6 + 1 and set(trained) == {1}
    trained.clear()
    with pytest.raises(SystemExit) as ended:
        main(tmp_path / "parts", "--rules=sgd", "--tune")
    assert ended.value.code == 128 + signal.SIGTERM and trained == [1] * 2
    tried = tmp_path / "parts" / records.TUNING
    tried.write_text(tried.read_text() + '{"of": "')
    (tmp_path / "other").mkdir()
    shutil.copy(tried, tmp_path / "other")
    main(tmp_path / "parts", "--rules=sgd", "--tune")
    assert len(trained) == every and not tried.exists()
    whole, parts = (records.read(tmp_path / name)[0]["tuned"] for name in ("whole", "parts"))
    assert whole == parts
    main(tmp_path / "other", "--rules=sgd", "--tune", "--epochs=4")  # of these, nothing is there
    assert len(trained) >= every + 6 + 1


def test_a_set_without_searched_numbers_says_so_and_names_tune():
    digits = sj.load("digits")

    def said(*given):
        options = flags.parse(table1.EXPERIMENT, ["table1.py", "--rules=sgd,dfa", *given])
        jobs = plan(table1.EXPERIMENT, options, digits)
        return unsearched(options, jobs)

    (line,) = said()
    assert line.startswith("digits: no numbers were searched here for sgd, dfa") and "--tune" in line
    assert said("--tune") == said("--noconfigs") == []
    mnist = digits._replace(name="mnist")
    own = pathlib.Path(__file__).parent.parent / "examples" / "own_gate.py"  # of which nothing is searched
    options = flags.parse(table1.EXPERIMENT, ["table1.py", f"--rules=sgd,{own}:own_gate"])
    (line,) = unsearched(options, plan(table1.EXPERIMENT, options, mnist))
    assert line.startswith("mnist: no numbers were searched here for own_gate:")


def test_tune_and_train_on_val_exclude_each_other():
    with pytest.raises(ValueError, match="--tune needs the validation images that --train_on_val trains on"):
        flags.parse(table1.EXPERIMENT, ["table1.py", "--tune", "--train_on_val"])


@pytest.mark.slow
def test_a_rate_that_is_far_too_low_is_raised_and_one_that_diverges_is_lowered(tmp_path):
    """On digits: SGD at an eighth of 0.03 and at 3, where eight times and a quarter of it are what learns best."""
    for rate, wanted in ((0.004, lambda factor: factor >= 4), (3.0, lambda factor: factor <= 0.5)):
        folder = tmp_path / str(rate)
        given = ("--rules=sgd", "--epochs=12", "--seeds=1", "--hidden_widths=20", "--batch_size=50", f"--rate_w={rate}")
        lab.main(table1.EXPERIMENT, ["table1.py", *given, "--tune", f"--out_dir={folder}"])
        chosen = records.read(folder)[0]["tuned"]["digits"]["sgd"]
        assert wanted(chosen["factor"]), chosen
        assert np.isfinite(list(chosen["scores"].values())).all()
