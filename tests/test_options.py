"""What the experiments' flags mean: each reaches the number that it names, and no other."""

import pathlib
import sys

import pytest
from absl.testing import flagsaver

import sam_jax as sj

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "experiments"))
import options

if not options.FLAGS.is_parsed():
    options.FLAGS(["test"])


def settings(rule, **flags):
    with flagsaver.as_parsed(**flags):
        return options.make_settings(rule)


@pytest.mark.parametrize("rule", sj.RULES)
def test_without_flags_a_rule_has_its_own_numbers(rule):
    row = sj.RULES[rule]
    found = settings(rule)
    assert (found.rates, found.decay, found.scales) == (row.rates, row.decay, row.scales)
    assert found.mirroring == (row.mirroring or sj.Mirroring())


@pytest.mark.parametrize("pathway", sj.PATHWAYS)
def test_a_rate_and_a_scale_reach_their_pathway_alone(pathway):
    row = sj.RULES["sam"]
    found = settings("sam", **{f"rate_{pathway}": "0.5", f"scale_{pathway}": "2.5"})
    assert found.rates == row.rates._replace(**{pathway: 0.5})
    assert found.scales == row.scales._replace(**{pathway: 2.5})


def test_kolen_pollacks_feedback_learns_at_the_forward_rate_unless_told_otherwise():
    assert settings("kp", rate_w="0.05").rates[:2] == (0.05, 0.05)
    assert settings("kp", rate_w="0.05", rate_w_bar="0.01").rates[:2] == (0.05, 0.01)
    assert settings("fa", rate_w="0.05").rates[:2] == (0.05, 0.0)


def test_the_factor_scales_rates_and_decay_once():
    row = sj.RULES["sam"]
    found = settings("sam", rate_factor="0.5")
    assert found.rates == tuple(rate / 2 for rate in row.rates) and found.decay == row.decay / 2
    by_rate = settings("sam", rate_factor="0.5", decay="0.01", decay_times_rate="true")
    assert by_rate.decay == 0.01  # the optimizer multiplies it by the halved rates


def test_mirroring_flags_reach_mirroring():
    found = settings("wm", mirror_noise_std="0.5", mirror_decay="0.2").mirroring
    assert found == sj.RULES["wm"].mirroring._replace(noise_std=0.5, decay=0.2)


def test_protocol_flags_reach_the_protocol():
    flags = {"batch_size": "32", "epochs": "7", "schedule": "constant", "warmup_epochs": "1.5", "loss": "mse"}
    flags |= {"mirror_steps_before": "3", "mirror_steps_after": "2", "activation": "tanh", "hidden_widths": "9,8"}
    with flagsaver.as_parsed(decay_times_rate="true", downstream_widths="4,5", **flags):
        dataset = sj.datasets.load("digits")
        sam, sgd = (options.make_protocol(rule, dataset) for rule in ("sam", "sgd"))
    assert (sam.batch_size, sam.epochs, sam.schedule, sam.warmup_epochs) == (32, 7, "constant", 1.5)
    assert (sam.mirror_steps_before, sam.mirror_steps_after, sam.decay_times_rate) == (3, 2, True)
    assert sam.loss is sj.losses.mse and not sam.auc
    assert (sam.circuit.widths, sam.circuit.activation) == ((64, 9, 8, 10), "tanh")
    assert sam.circuit.downstream_widths == (4, 5) and sgd.circuit.downstream_widths == (9, 8)


def test_all_names_every_data_set_once_and_repeats_are_dropped():
    with flagsaver.as_parsed(dataset="mnist,all,digits", rules="sam,fa,sam"):
        assert sorted(options.dataset_names()) == sorted(sj.datasets.REGISTRY)
        assert options.dataset_names()[0] == "mnist" and options.rule_names() == ["sam", "fa"]


@pytest.mark.parametrize(("name", "auc"), [("pathmnist", True), ("digits", False)])
def test_the_auc_is_measured_where_the_publisher_reports_it(name, auc):
    digits = sj.datasets.load("digits")._replace(name=name)
    assert options.make_protocol("sgd", digits).auc == auc


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"rate_w": "nan"}, "--rate_w is nan, expected a finite number"),
        ({"warmup_epochs": "inf"}, "--warmup_epochs is inf, expected a finite number"),
        ({"rules": "sgd,fa", "downstream_widths": "9,9,9"}, "--downstream_widths is for sam alone"),
    ],
)
def test_what_cannot_be_meant_is_refused(flags, line):
    with flagsaver.as_parsed(**flags), pytest.raises(ValueError, match=line):
        options.check()
