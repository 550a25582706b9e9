"""What the experiments' flags and configs mean: each reaches the number that it names, and no other."""

import pathlib
import sys

import pytest
from absl.testing import flagsaver

import sam_jax as sj
from sam_jax import interventions, training

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "experiments"))
import options

if not options.FLAGS.is_parsed():
    options.FLAGS(["test"])


@pytest.fixture(autouse=True)
def configs(tmp_path, monkeypatch):
    """An empty folder in place of experiments/configs."""
    stored = options.CONFIGS
    monkeypatch.setattr(options, "CONFIGS", tmp_path)
    return stored


def settings(rule, dataset="digits", numbers=None, **flags):
    with flagsaver.as_parsed(**flags):
        return options.make_settings(rule, dataset, **(numbers or {}))


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
    assert settings("sam", numbers={f"rate_{pathway}": 0.5, f"scale_{pathway}": 2.5}) == found


def test_kolen_pollacks_feedback_learns_at_the_forward_rate_unless_told_otherwise():
    assert settings("kp", rate_w="0.05").rates[:2] == (0.05, 0.05)
    assert settings("kp", numbers={"rate_w": 0.05}).rates[:2] == (0.05, 0.05)
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


def test_an_arms_numbers_beat_the_flags_and_these_the_config_and_that_the_rule(tmp_path):
    (tmp_path / "digits_sam.cfg").write_text("# found by hand\n--rate_w=1\n--rate_v=2\n--scale_v=3\n")
    row = sj.RULES["sam"]
    found = settings("sam", numbers={"rate_w": 7.0}, rate_w="5", rate_v="6")
    assert found.rates == row.rates._replace(w=7.0, v=6.0)  # the config says 1 and 2
    assert found.scales == row.scales._replace(v=3.0)
    assert found.decay == row.decay
    assert settings("sam").rates == row.rates._replace(w=1.0, v=2.0)
    assert settings("sam", rate_factor="0.5").rates == tuple(r / 2 for r in row.rates._replace(w=1.0, v=2.0))


def test_a_config_is_for_its_data_set_and_rule_and_can_be_switched_off(tmp_path):
    (tmp_path / "digits_wm.cfg").write_text("--mirror_decay=0.25\n--decay=0.125\n")
    (tmp_path / "digits_kp.cfg").write_text("--rate_w=0.5\n")
    row = sj.RULES["wm"]
    found = settings("wm")
    assert (found.mirroring, found.decay) == (row.mirroring._replace(decay=0.25), 0.125)
    assert settings("kp").rates[:2] == (0.5, 0.5)  # W̄ follows here too
    for other in (settings("wm", dataset="mnist"), settings("wm", configs="false")):
        assert (other.mirroring, other.decay) == (row.mirroring, row.decay)
    assert settings("sam").rates == sj.RULES["sam"].rates


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("--rate_u=1", r"digits_sam\.cfg: Unknown command line flag 'rate_u'"),
        ("--epochs=3", r"digits_sam\.cfg: Unknown command line flag 'epochs'"),
        ("--rate_w=much", r"digits_sam\.cfg: flag --rate_w=much"),
        ("--rate_w=-1", r"digits_sam\.cfg: flag --rate_w=-1"),
        ("--decay=nan", r"digits_sam\.cfg: --decay is nan, expected a finite number"),
        ("rate_w=0.1\n--rate_v=2", r"digits_sam\.cfg: 'rate_w=0\.1' is no flag: flags begin with --"),
    ],
)
def test_a_config_with_anything_else_gets_one_clear_line(text, line, tmp_path):
    (tmp_path / "digits_sam.cfg").write_text(f"{text}\n")
    with pytest.raises(ValueError, match=line) as caught:
        settings("sam")
    assert "\n" not in str(caught.value)


def test_every_stored_config_belongs_to_a_data_set_and_a_rule_and_is_read(configs, monkeypatch):
    monkeypatch.setattr(options, "CONFIGS", configs)
    for path in configs.glob("*"):
        dataset, _, rule = path.stem.rpartition("_")
        assert path.suffix == ".cfg" and dataset in sj.datasets.REGISTRY and rule in sj.RULES, path
        with flagsaver.as_parsed():
            numbers = options.config(dataset, rule)
            found = options.make_settings(rule, dataset)
        assert numbers and set(numbers) <= set(options.NUMBERS)
        assert found.rates.w == numbers.get("rate_w", sj.RULES[rule].rates.w) > 0


def test_an_arms_misspelt_number_is_not_passed_over():
    with pytest.raises(TypeError, match="number 'rate_vbar' is unknown, expected some of rate_w, rate_w_bar"):
        settings("sam", numbers={"rate_vbar": 1.0})


def test_protocol_flags_reach_the_protocol():
    flags = {"batch_size": "32", "epochs": "7", "schedule": "constant", "warmup_epochs": "1.5", "loss": "mse"}
    flags |= {"mirror_steps_before": "3", "mirror_steps_after": "2", "activation": "tanh", "hidden_widths": "9,8"}
    with flagsaver.as_parsed(decay_times_rate="true", downstream_widths="4,5", evaluate_every="3", **flags):
        dataset = sj.datasets.load("digits")
        circuits = [options.make_circuit(rule, dataset.pixels, dataset.classes) for rule in ("sam", "sgd")]
        sam, sgd = (options.make_protocol(circuit, dataset) for circuit in circuits)
    assert (sam.batch_size, sam.epochs, sam.schedule, sam.warmup_epochs) == (32, 7, "constant", 1.5)
    assert (sam.mirror_steps_before, sam.mirror_steps_after, sam.decay_times_rate) == (3, 2, True)
    assert (sam.evaluate_every, sam.interventions) == (3, ())
    assert sam.loss is sj.losses.mse and not sam.auc
    assert (sam.circuit.widths, sam.circuit.activation) == ((64, 9, 8, 10), "tanh")
    assert sam.circuit.downstream_widths == (4, 5) and sgd.circuit.downstream_widths == (9, 8)


def test_an_arms_fields_replace_the_flags():
    with flagsaver.as_parsed(hidden_widths="9,8", downstream_widths="4,5", activation="tanh"):
        circuit = options.make_circuit("sam", 64, 10, activation="linear", downstream_widths=(2, 3), plastic=("w",))
        deep = options.make_circuit("sam", 64, 10, widths=(7, 6, 5), downstream_widths=())
    assert (circuit.widths, circuit.downstream_widths) == ((64, 9, 8, 10), (2, 3))
    assert (circuit.activation, circuit.plastic) == ("linear", ("w",))
    assert (deep.widths, deep.downstream_widths, deep.activation) == ((64, 7, 6, 5, 10), (7, 6, 5), "tanh")
    changes = {
        "loss": sj.losses.mse,
        "batch_size": 9,
        "epochs": 3,
        "schedule": "constant",
        "warmup_epochs": 0.5,
        "decay_times_rate": True,
        "mirror_steps_before": 1,
        "mirror_steps_after": 2,
        "auc": True,
        "evaluate_every": 2,
        "interventions": (interventions.parse("freeze", "w@1"),),
    }
    assert {"circuit", *changes} == set(training.Protocol._fields)  # every field can be an arm's
    protocol = options.make_protocol(circuit, sj.datasets.load("digits"), **changes)
    assert protocol._asdict() == {"circuit": circuit, **changes}


def test_all_names_every_data_set_once_and_repeats_are_dropped():
    with flagsaver.as_parsed(dataset="mnist,all,mnist"):
        assert sorted(options.dataset_names()) == sorted(sj.datasets.REGISTRY)
        assert options.dataset_names()[0] == "mnist"


@pytest.mark.parametrize(("name", "auc"), [("pathmnist", True), ("digits", False)])
def test_the_auc_is_measured_where_the_publisher_reports_it(name, auc):
    digits = sj.datasets.load("digits")._replace(name=name)
    assert options.make_protocol(options.make_circuit("sgd", 64, 10), digits).auc == auc


def test_training_images_are_the_first_of_the_training_split_and_the_others_stay():
    whole = options.load("digits")
    with flagsaver.as_parsed(train_images="300"):
        options.check()
        part = options.load("digits")
    assert len(part.train.images) == len(part.train.labels) == 300
    assert (part.train.images == whole.train.images[:300]).all()
    assert (part.train.labels == whole.train.labels[:300]).all()
    for split in ("val", "test"):
        assert len(getattr(part, split).images) == len(getattr(whole, split).images)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"rate_w": "nan"}, "--rate_w is nan, expected a finite number"),
        ({"warmup_epochs": "inf"}, "--warmup_epochs is inf, expected a finite number"),
        ({"train_images": "1296"}, "--train_images is 1296, but digits has 1295 training images"),
        ({"train_images": "100"}, "batch_size is 256, expected at most the 100 training images of digits"),
    ],
)
def test_what_cannot_be_meant_is_refused(flags, line):
    with flagsaver.as_parsed(**flags), pytest.raises(ValueError, match=line):
        options.check()
