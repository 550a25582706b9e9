"""The search's parts: trials are drawn from their space, trained as single runs are, and judged by all their seeds."""

import numpy as np
import pytest

import sam_jax as sj
from sam_jax import datasets, inputs, losses, sweep, training


@pytest.mark.parametrize("rule", sj.RULES)
def test_trials_lie_in_the_rules_space_and_more_trials_keep_the_first(rule):
    trials = sweep.sample(rule, 40)
    assert trials[:7] == sweep.sample(rule, 7) and len({tuple(t.items()) for t in trials}) == 40
    for name, (low, high) in sweep.SPACES[rule].items():
        number, _, base = name.partition("/")
        values = [t[number] / (t[base] if base else 1.0) for t in trials]
        assert low * 0.998 <= min(values) and max(values) <= high * 1.002  # four significant digits
        below = sum(v < (low * high) ** 0.5 for v in values)  # half lies below the middle of the log scale
        assert 12 <= below <= 28


def test_ratios_are_multiplied_out():
    point = {"rate_w": 0.2, "rate_v/rate_w": 0.5, "decay/rate_w": 1e-3, "scale_w": 0.7}
    assert sweep.numbers_of(point) == {"rate_w": 0.2, "rate_v": 0.1, "decay": 2e-4, "scale_w": 0.7}


def test_a_factor_scales_rates_and_decay_alone():
    numbers = {"rate_w": 0.2, "rate_v": 0.1, "decay": 2e-4, "scale_w": 0.7, "mirror_rate": 0.02, "mirror_decay": 0.01}
    halved = {"rate_w": 0.1, "rate_v": 0.05, "decay": 1e-4, "scale_w": 0.7, "mirror_rate": 0.02, "mirror_decay": 0.01}
    assert sweep.scaled(numbers, 0.5) == halved


@pytest.mark.parametrize("rule", sj.RULES)
def test_numbers_reach_the_settings_and_the_rest_is_the_rules_own(rule):
    row = sj.RULES[rule]
    plain = sweep.settings_of(rule, {})
    assert (plain.rates, plain.decay, plain.scales) == (row.rates, row.decay, row.scales)
    changed = sweep.settings_of(rule, {"rate_v": 0.3, "scale_w_bar": 0.4, "decay": 0.01, "mirror_decay": 0.2})
    assert changed.rates == row.rates._replace(v=0.3) and changed.scales == row.scales._replace(w_bar=0.4)
    assert changed.decay == 0.01 and changed.mirroring.decay == 0.2
    assert sweep.settings_of("kp", {"rate_w": 0.3}).rates[:2] == (0.3, 0.3)


def test_many_trials_at_once_are_the_single_runs_in_one_program():
    data = inputs.place(datasets.load("digits"))
    data = data._replace(splits={split: data.splits[split] for split in ("train", "val")})
    protocol = training.Protocol(sj.sam((64, 9, 8, 10)), losses.cross_entropy, 100, 3, evaluate_every=3)
    trials = [sweep.settings_of("sam", {"rate_w": rate, "scale_w": 1.3}) for rate in (0.1, 0.4, 1e6)]
    before = training.advance_runs._cache_size()
    found = sweep.trials_at_once(protocol, trials, data, [3, 4])
    assert training.advance_runs._cache_size() == before + 1
    for settings, results in zip(trials, found, strict=True):
        for seed, result in zip((3, 4), results, strict=True):
            *_, (_, runs, metrics) = training.train(protocol, settings, data, [seed])
            assert result["diverged"] == bool(runs.diverged[0])
            if not result["diverged"]:
                assert result["val_accuracy"] == float(metrics["val"].accuracy[0])
    assert [r["diverged"] for r in found[2]] == [True, True] and found[2][0]["val_accuracy"] is None


def test_a_diverged_seed_counts_as_chance():
    alive, lost = {"diverged": False, "val_accuracy": 0.7}, {"diverged": True, "val_accuracy": None}
    assert np.isclose(sweep.score([alive, alive, lost], 0.1), (0.7 + 0.7 + 0.1) / 3)


def test_the_best_go_on_and_ties_go_to_the_earlier():
    assert sweep.survivors([0.2, 0.5, 0.5, 0.1, 0.9], 3) == [4, 1, 2]
