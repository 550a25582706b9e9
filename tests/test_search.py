"""The search as a user runs it: what it leaves, that it goes on where it was, and that the test split has no part."""

import dataclasses
import json
import pathlib
import shutil

import commands
import numpy as np
import official_files as files
import pytest

import sam_jax as sj
from sam_jax import footprint, inputs, training
from sam_jax.data import datasets
from sam_jax.experiments import search
from sam_jax.lab import arms, flags, interruption, search_report
from sam_jax.lab import search as lab_search
from sam_jax.lab import trials as lab_trials
from sam_jax.lab.results import Results

SEARCH = pathlib.Path(__file__).parent.parent / "experiments" / "search.py"
FLAGS = (
    "--rules=sgd,sam",
    "--trials=5",
    "--rungs=1,2",
    "--factors=0.5,1",
    "--factor_rungs=2,3",
)
READS = (*lab_search.READS, *(own.name for own in lab_search.FLAGS))
SMALL = ("--batch_size=10", "--hidden_widths=5,4", "--seeds=2")


def run(*arguments, cwd):
    return commands.start(SEARCH, *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("search")
    for seed, name in ((0, "one"), (2, "two")):
        train, test = files.examples(36, (4, 3, 1), 3, seed), files.examples(10, (4, 3, 1), 3, seed + 1)
        files.write_npz(cwd / f"{name}.npz", train, test)
    given = ("--dataset=one.npz,two.npz", "--out_dir=out", *FLAGS, *SMALL)
    done = run(*given, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd, given


def rows(cwd):
    return [json.loads(line) for line in (cwd / "out" / "metrics.jsonl").read_text().splitlines()]


def test_every_rule_has_the_same_trials_and_the_test_split_no_part(searched):
    found = rows(searched[0])
    expected = {("one", "rung 0"): 5, ("one", "rung 1"): 2, ("one", "factor 0"): 2, ("two", "factor 0"): 2}
    expected |= {("one", "factor 1"): 3, ("two", "factor 1"): 3}
    for rule in ("sgd", "sam"):
        for (dataset, stage), trials in expected.items():
            of_stage = [r for r in found if (r["dataset"], r["arm"], r["stage"]) == (dataset, rule, stage)]
            assert sorted((r["trial"], r["seed"]) for r in of_stage) == [(t, s) for t in range(trials) for s in (0, 1)]
    assert not any("test" in key for row in found for key in row)


def test_the_winners_are_flagfiles_of_the_best_trial_of_the_last_factors(searched):
    cwd, _ = searched
    names = {f"{dataset}_{rule}.cfg" for dataset in ("one", "two") for rule in ("sgd", "sam")}
    assert {path.name for path in (cwd / "out" / "configs").iterdir()} == names
    assert (cwd / "out" / "search.md").is_file() and (cwd / "out" / "stability.png").is_file()
    tried = [r for r in rows(cwd) if (r["dataset"], r["arm"], r["stage"]) == ("two", "sam", "factor 1")]
    means = [np.mean([r["val_accuracy"] for r in tried if r["trial"] == trial]) for trial in (0, 1, 2)]
    best = next(r["numbers"] for r in tried if r["trial"] == int(np.argmax(means)))
    lines = (cwd / "out" / "configs" / "two_sam.cfg").read_text().splitlines()
    assert {line for line in lines if not line.startswith("#")} == {f"--{k}={v:g}" for k, v in best.items()}


@pytest.mark.parametrize("lacks", [("two", "sgd"), ("two", "sam"), ("one", "sgd")], ids=" ".join)
def test_a_rule_that_was_not_searched_on_a_set_has_no_panel_there(searched, tmp_path, lacks):
    """As where one folder's search went on with more sets for some of its rules."""
    cwd, _ = searched
    shutil.copy(cwd / "out" / "manifest.json", tmp_path)
    left = [json.dumps(row) for row in rows(cwd) if (row["dataset"], row["arm"]) != lacks]
    (tmp_path / "metrics.jsonl").write_text("\n".join(left) + "\n")
    search_report.make(Results.read(tmp_path))
    assert (tmp_path / "stability.png").is_file()
    assert not (tmp_path / "configs" / f"{lacks[0]}_{lacks[1]}.cfg").exists()
    assert len([*(tmp_path / "configs").iterdir()]) == 3


@pytest.mark.slow
def test_an_interrupted_search_goes_on_where_it_was(searched):
    """After the first two of a rung's trials, in the middle of a line."""
    cwd, given = searched
    path, before = cwd / "out" / "metrics.jsonl", rows(cwd)
    rung = [row for row in before if (row["arm"], row["stage"]) == ("sam", "rung 0")]
    kept = before[: before.index(rung[4])]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept) + json.dumps(rung[4])[:30])
    assert run(*given, cwd=cwd).returncode == 0
    after = rows(cwd)
    assert after[: len(kept)] == kept  # not computed again: their times are the same
    plain = [{k: v for k, v in row.items() if k != "seconds"} for row in after]
    assert plain == [{k: v for k, v in row.items() if k != "seconds"} for row in before]


@pytest.mark.parametrize("other", ["--trials=6", "--hidden_widths=6,4", "--activation=tanh", "--batch_size=12"])
def test_a_search_is_not_continued_with_anything_else(searched, other):
    cwd, given = searched
    before = (cwd / "out" / "metrics.jsonl").read_bytes()
    done = run(*given, other, cwd=cwd)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("search.py: out_dir out holds")
    assert (cwd / "out" / "metrics.jsonl").read_bytes() == before


def test_a_search_goes_on_once_its_winners_are_configs(tmp_path):
    experiment = dataclasses.replace(search.EXPERIMENT, configs=tmp_path / "configs")
    given = ["--dataset=digits", "--rules=sgd", "--train_images=32", "--batch_size=16", "--hidden_widths=5"]
    few = ["--seeds=1", "--trials=2", "--rungs=1", "--factors=1", "--factor_rungs=1"]
    argv = ["search.py", *given, *few, f"--out_dir={tmp_path / 'out'}"]
    (tmp_path / "configs").mkdir()
    folder = lab_search.run(experiment, flags.parse(experiment, argv, only=READS))
    before = (folder / "metrics.jsonl").read_bytes()
    (tmp_path / "configs" / "digits_sgd.cfg").write_text("--rate_w=0.0123\n")
    lab_search.run(experiment, flags.parse(experiment, argv, only=READS))
    assert (folder / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "flag", ["--rate_w=3", "--epochs=7", "--rate_factor=2", "--warmup_epochs=1", "--evaluate_every=2"]
)
def test_a_flag_that_it_does_not_read_is_refused(flag, tmp_path):
    argv = ["search.py", flag, f"--out_dir={tmp_path / 'out'}"]
    with pytest.raises(ValueError, match=f"{flag.partition('=')[0]} is not read by search: leave it out"):
        flags.parse(search.EXPERIMENT, argv, only=READS)
    assert not list(tmp_path.iterdir())


def test_help_has_no_flag_that_is_not_read(capsys):
    assert flags.parse(search.EXPERIMENT, ["search.py", "--help"], only=READS) is None
    shown = capsys.readouterr().out
    assert "--trials=" in shown and "--dataset=" in shown and "--help" in shown
    assert "--epochs=" not in shown and "--tune" not in shown and "--rate_w" not in shown


def test_a_wrong_rung_gets_one_line(tmp_path):
    done = run("--rungs=1.5", "--out_dir=out", cwd=tmp_path)
    assert done.returncode == 1 and "a rung is '1.5', expected a number of epochs" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("rule", sj.RULES.values(), ids=sj.RULES)
def test_trials_lie_in_the_rules_space_and_more_trials_keep_the_first(rule):
    trials = lab_search.sample(rule, 40)
    assert trials[:7] == lab_search.sample(rule, 7) and len({tuple(t.items()) for t in trials}) == 40
    for name, (low, high) in rule.space.items():
        number, _, base = name.partition("/")
        values = [t[number] / (t[base] if base else 1.0) for t in trials]
        assert low * 0.998 <= min(values) and max(values) <= high * 1.002  # four significant digits
        below = sum(v < (low * high) ** 0.5 for v in values)  # half lies below the middle of the log scale
        assert 12 <= below <= 28


def test_ratios_are_multiplied_out():
    point = {"rate_w": 0.2, "rate_v/rate_w": 0.5, "decay/rate_w": 1e-3, "scale_w": 0.7}
    assert lab_search.numbers_of(point) == {"rate_w": 0.2, "rate_v": 0.1, "decay": 2e-4, "scale_w": 0.7}


def test_a_factor_scales_rates_and_decay_alone():
    numbers = {"rate_w": 0.2, "decay": 2e-4, "scale_w": 0.7, "mirror_rate": 0.02, "mirror_decay": 0.01}
    halved = {"rate_w": 0.1, "decay": 1e-4, "scale_w": 0.7, "mirror_rate": 0.02, "mirror_decay": 0.01}
    assert lab_search.scaled(sj.wm, numbers, 0.5) == halved


@pytest.fixture(scope="module")
def digits():
    """The data set, and its training and validation splits on the device."""
    dataset = datasets.load("digits")
    data = inputs.place(dataset)
    return dataset, data._replace(splits={split: data.splits[split] for split in ("train", "val")})


def job_of(digits, rule, *given, **protocol):
    options = flags.parse(search.EXPERIMENT, ["search.py", f"--rules={rule}", "--hidden_widths=9,8", *given])
    return arms.settle(options, digits[0], rule, arms.Arm(rule, protocol={"warmup_epochs": 0.0} | protocol))


@pytest.mark.slow
def test_many_trials_at_once_are_the_single_runs_in_one_program(digits):
    job, (_, data) = job_of(digits, "sam", "--batch_size=100", epochs=3, evaluate_every=3), digits
    trials = [{"rate_w": rate, "scale_w": 1.3} for rate in (0.1, 0.4, 1e6)]
    before = training.advance_runs._cache_size()
    found = lab_trials.trials_at_once(job, trials, data, [3, 4])
    assert training.advance_runs._cache_size() == before + 1
    for trial, results in zip(trials, found, strict=True):
        for seed, result in zip((3, 4), results, strict=True):
            *_, (_, runs, metrics) = training.train(job.protocol, sj.sam.settle(trial), data, [seed])
            assert result["diverged"] == bool(runs.diverged[0])
            if not result["diverged"]:
                assert result["val_accuracy"] == float(metrics["val"].accuracy[0])
    assert [r["diverged"] for r in found[2]] == [True, True] and found[2][0]["val_accuracy"] is None


@pytest.mark.slow
def test_trials_in_chunks_are_the_trials_at_once(digits, monkeypatch):
    job, (_, data) = job_of(digits, "sgd", epochs=2), digits
    trials = [{"rate_w": rate} for rate in (0.01, 0.1, 0.3, 0.5, 0.6)]
    together = lab_trials.trials_at_once(job, trials, data, [0, 1])
    counts, plain = [], training.train
    monkeypatch.setattr(training, "train", lambda p, n, d, seeds: counts.append(len(seeds)) or plain(p, n, d, seeds))
    needed = job.need()
    monkeypatch.setattr(footprint, "free", lambda: int(2.5 * needed.run / footprint.SHARE))
    found = [one for _, part in lab_trials.in_parts(job, trials, data, [0, 1], interruption.Asked()) for one in part]
    assert found == together and counts == [2] * 5  # a run on each of two devices
    with monkeypatch.context() as only:
        only.setattr(lab_trials.jax, "default_backend", lambda: "gpu")
        assert list(map(len, lab_trials.parts(job, 5, 2))) == [2, 2, 1]  # two runs on each


def test_what_a_trial_needs_of_memory_has_its_momentum(digits, monkeypatch):
    asked = []
    monkeypatch.setattr(lab_trials, "parts", lambda job, *counts: asked.append(job) or [])
    job = job_of(digits, "sgd", epochs=1)
    assert list(lab_trials.in_parts(job, [{"rate_w": 0.1, "momentum": 0.9}], digits, [0], interruption.Asked())) == []
    assert asked[0].need().copies == job.need().copies + 2


def test_a_rule_whose_start_needs_a_number_outside_its_space_is_counted_too(digits, monkeypatch):
    asked = []
    monkeypatch.setattr(lab_trials, "parts", lambda job, *counts: asked.append(job) or [])

    def init(circuit, key, numbers):
        assert numbers["scale_w"] == sj.sgd.numbers["scale_w"]
        return sj.sgd.init(circuit, key, numbers)

    job = job_of(digits, "sgd", epochs=1)
    job = job._replace(rule=job.rule.replace(init=init))
    assert list(lab_trials.in_parts(job, [{"rate_w": 0.1}], digits, [0], interruption.Asked())) == []
    assert asked[0].need() == job.need()


def test_a_diverged_seed_counts_as_chance():
    alive, lost = {"diverged": False, "val_accuracy": 0.7}, {"diverged": True, "val_accuracy": None}
    assert np.isclose(lab_search.score([alive, alive, lost], "accuracy", 10.0), (70 + 70 + 10) / 3)


@pytest.mark.parametrize("undefined", [None, float("nan")])
def test_a_measure_that_is_undefined_counts_as_chance(undefined):
    rows = [{"diverged": False, "val_auc": value} for value in (0.7, undefined)]
    assert np.isclose(lab_search.score(rows, "auc", 50.0), (70 + 50) / 2)


def test_the_best_go_on_and_ties_go_to_the_earlier():
    assert lab_search.survivors([0.2, 0.5, 0.5, 0.1, 0.9], 3) == [4, 1, 2]


def test_a_process_that_is_ahead_takes_no_trial_from_the_others(monkeypatch, tmp_path):
    """The second of two processes has done its trials, 1 and 3, before the first looks: 0, 2 and 4 are the first's."""
    (tmp_path / "metrics.jsonl").touch()
    (tmp_path / "manifest.json").write_text('{"kind": "search", "cells": {}, "data": {}}')
    dataset = datasets.load("digits")
    experiment_options = flags.parse(search.EXPERIMENT, ["search.py", f"--out_dir={tmp_path}"])
    protocol = {"epochs": 0, "warmup_epochs": 0.0, "evaluate_every": 0}
    job = arms.settle(experiment_options, dataset, "sgd", arms.Arm("sgd", protocol=protocol))
    data = inputs.Data({"train": None, "val": None}, None, None)
    one = lab_search.Search(tmp_path, job, data, seeds=1, measure="accuracy", chance=10.0, stop=interruption.Asked())
    result = {"val_accuracy": 0.5, "diverged": False}
    common = {"dataset": "digits", "arm": "sgd", "stage": "rung 0", "seed": 0}
    one.rows = [common | result | {"trial": trial} for trial in (1, 3)]
    trials, trained = [{"rate_w": float(place)} for place in range(5)], []

    def train(job, given, data, seeds, stop):
        trained.extend(trial["rate_w"] for trial in given)
        yield range(len(given)), [[result] for _ in given]

    monkeypatch.setattr(lab_search, "in_parts", train)
    monkeypatch.setattr(lab_search.processes, "share", lambda items: items[0::2])
    monkeypatch.setattr(lab_search.processes, "wait", lambda ready: None)
    monkeypatch.setattr(lab_search, "score", lambda rows, measure, chance: 0.0)
    one.stage("rung 0", trials, epochs=1)
    assert trained == [0.0, 2.0, 4.0]


def test_trials_of_other_numbers_are_not_taken_for_those_of_now(searched, tmp_path, monkeypatch):
    """As where a rule's space was changed, or another data set came first: a place in a stage is no identity."""
    cwd, given = searched
    folder = tmp_path / "out"
    shutil.copytree(cwd / "out", folder)
    changed = [row | {"numbers": row["numbers"] | {"rate_w": 77.0}} for row in rows(cwd)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    monkeypatch.chdir(cwd)
    options = flags.parse(search.EXPERIMENT, ["search.py", *given, f"--out_dir={folder}"], READS)
    with pytest.raises(FileExistsError, match="out holds trial 0 of sgd on one"):
        lab_search.run(search.EXPERIMENT, options)


def test_the_factor_leaves_the_decay_where_each_rate_scales_it():
    numbers = {"rate_w": 0.1, "decay": 1e-3}
    assert lab_search.scaled(sj.sgd, numbers, 2) == {"rate_w": 0.2, "decay": 2e-3}
    assert lab_search.scaled(sj.sgd, numbers, 2, decay_too=False) == {"rate_w": 0.2, "decay": 1e-3}


@pytest.mark.parametrize("kept", ["rate_w", "rungs", "order"])
def test_the_map_of_a_search_is_drawn_of_what_there_is(searched, tmp_path, kept):
    """A space of one number; a search that was stopped in its rungs; rows in the order of the sets' names."""
    cwd, _ = searched
    found = rows(cwd)
    if kept == "rate_w":
        found = [row | {"numbers": {"rate_w": row["numbers"]["rate_w"]}} for row in found]
    elif kept == "rungs":
        found = [row for row in found if row["stage"].startswith("rung")]
    else:
        found = sorted(found, key=lambda row: row["dataset"], reverse=True)
    shutil.copy(cwd / "out" / "manifest.json", tmp_path)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    search_report.make(Results.read(tmp_path))
    assert (tmp_path / "stability.png").is_file()


def test_the_last_stage_is_the_last_by_number():
    entry = {"dataset": "one", "rule": "sgd", "score": 50.0}
    found = [entry | {"stage": f"factor {level}"} for level in (2, 10, 9)]
    assert search_report.winners(found)["one", "sgd"]["stage"] == "factor 10"


def test_merged_rows_keep_the_order_of_the_data_sets():
    row = {"arm": "sgd", "stage": "rung 0", "trial": 0, "seed": 0}
    found = [row | {"dataset": name} for name in ("cifar10", "mnist")]
    found.sort(key=lambda row: lab_search.order(row, ["mnist", "cifar10"], ["sgd"]))
    assert [row["dataset"] for row in found] == ["mnist", "cifar10"]
