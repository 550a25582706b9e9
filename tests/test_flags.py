"""What the experiments' flags and configs mean: each reaches the number that it names, and no other."""

import dataclasses
import importlib
import pathlib

import numpy as np
import pytest
from absl import flags as absl_flags

import sam_jax as sj
from sam_jax import lab, training
from sam_jax.experiments import paper, search, table1
from sam_jax.lab import flags
from sam_jax.lab.arms import Arm, settle

STORED = pathlib.Path(paper.__file__).parent / "configs"


def arms(options, dataset):
    """No arms of its own."""
    return {}


@pytest.fixture
def experiment(tmp_path):
    """An experiment whose folder of configs is empty."""
    return lab.Experiment("mine", arms, print, rules=("sam",), configs=tmp_path)


@pytest.fixture
def options(experiment):
    """`options("--epochs=3", ...)`: as read from a command line."""
    return lambda *given: flags.parse(experiment, ["mine.py", *given])


@pytest.fixture
def numbers(options):
    """`numbers("sam", "--rate_w=1", dataset="mnist", exact={...})`: a rule's numbers under these flags."""

    def of(rule, *given, dataset="digits", exact=None):
        return options(*given).numbers_of(sj.RULES[rule], dataset, exact or {})

    return of


def job(options, rule="sam", dataset=None, **fields):
    """An arm on the digits, settled."""
    return settle(options, dataset or flags.load(options, "digits"), rule, Arm(rule, **fields))


@pytest.mark.parametrize("rule", sj.RULES)
def test_without_flags_a_rule_has_its_own_numbers(rule, numbers):
    row = sj.RULES[rule]
    assert numbers(rule) == {**row.numbers, **{tied: row.numbers[base] for tied, base in row.ties.items()}}


@pytest.mark.parametrize("pathway", sj.PATHWAYS)
def test_a_rate_and_a_scale_reach_their_pathway_alone(pathway, numbers):
    changed = {f"rate_{pathway}": 0.5, f"scale_{pathway}": 2.5}
    expected = {**sj.sam.numbers, **changed}
    assert numbers("sam", *(f"--{name}={value}" for name, value in changed.items())) == expected
    assert numbers("sam", exact=changed) == expected


def test_kolen_pollacks_feedback_learns_at_the_forward_rate_unless_told_otherwise(numbers):
    def rates(*given, **more):
        found = numbers("kp", *given, **more)
        return found["rate_w"], found["rate_w_bar"]

    assert rates("--rate_w=0.05") == rates(exact={"rate_w": 0.05}) == (0.05, 0.05)
    assert rates("--rate_w=0.05", "--rate_w_bar=0.01") == (0.05, 0.01)
    assert rates("--rate_w=0.05", "--rate_factor=0.5") == (0.025, 0.025)
    assert "rate_w_bar" not in numbers("fa", "--rate_w=0.05")


def test_a_rate_that_is_merely_equal_is_not_tied():
    equal = sj.kp.replace(name="equal", ties={}, numbers={**sj.kp.numbers, "rate_w_bar": sj.kp.numbers["rate_w"]})
    assert equal.settle()["rate_w_bar"] == equal.settle()["rate_w"] == sj.kp.settle()["rate_w_bar"]
    found = equal.settle({"rate_w": 0.03})
    assert (found["rate_w"], found["rate_w_bar"]) == (0.03, sj.kp.numbers["rate_w"])
    assert sj.kp.settle({"rate_w": 0.03})["rate_w_bar"] == 0.03


def test_the_factor_scales_rates_and_decay_once(numbers):
    row = sj.sam.numbers
    found = numbers("sam", "--rate_factor=0.5")
    assert found == {n: v / 2 if n.startswith(("rate", "decay")) else v for n, v in row.items()}
    by_rate = numbers("sam", "--rate_factor=0.5", "--decay=0.01", "--decay_times_rate")
    assert by_rate["decay"] == 0.01  # the update multiplies it by the halved rates
    assert by_rate["rate_w"] == row["rate_w"] / 2


def test_an_arms_numbers_are_exact_whatever_the_factor(numbers):
    found = numbers("sam", "--rate_factor=0.5", "--rate_v=3", exact={"rate_w": 0.3})
    assert (found["rate_w"], found["rate_v"]) == (0.3, 1.5)


def test_mirroring_flags_reach_mirroring(numbers):
    found = numbers("wm", "--mirror_noise_std=0.5", "--mirror_decay=0.2")
    assert found == {**sj.wm.numbers, "mirror_noise_std": 0.5, "mirror_decay": 0.2}


def test_an_arms_numbers_beat_the_flags_and_these_the_config_and_that_the_rule(tmp_path, numbers):
    (tmp_path / "digits_sam.cfg").write_text("# found by hand\n--rate_w=1\n--rate_v=2\n--scale_v=3\n")
    row = sj.sam.numbers
    found = numbers("sam", "--rate_w=5", "--rate_v=6", exact={"rate_w": 7.0})
    assert found == {**row, "rate_w": 7.0, "rate_v": 6.0, "scale_v": 3.0}  # the config says 1 and 2
    config = {**row, "rate_w": 1.0, "rate_v": 2.0, "scale_v": 3.0}
    assert numbers("sam") == config
    halved = {n: v / 2 if n.startswith(("rate", "decay")) else v for n, v in config.items()}
    assert numbers("sam", "--rate_factor=0.5") == halved


def test_a_config_is_for_its_data_set_and_rule_and_can_be_switched_off(tmp_path, numbers):
    (tmp_path / "digits_wm.cfg").write_text("--mirror_decay=0.25\n--decay=0.125\n")
    (tmp_path / "digits_kp.cfg").write_text("--rate_w=0.5\n")
    row = sj.wm.numbers
    assert numbers("wm") == {**row, "mirror_decay": 0.25, "decay": 0.125}
    assert numbers("kp")["rate_w_bar"] == 0.5  # W̄ follows here too
    assert numbers("wm", dataset="mnist") == numbers("wm", "--noconfigs") == dict(row)
    assert numbers("sam") == dict(sj.sam.numbers)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("--rate_u=1", r"digits_sam\.cfg: Unknown command line flag 'rate_u'"),
        ("--epochs=3", r"digits_sam\.cfg: Unknown command line flag 'epochs'"),
        ("--rate_w=much", r"digits_sam\.cfg: flag --rate_w=much"),
        ("--rate_w=-1", r"digits_sam\.cfg: .*--rate_w.*-1"),
        ("--decay=nan", r"digits_sam\.cfg: --decay is nan, expected a finite number"),
        ("rate_w=0.1\n--rate_v=2", r"digits_sam\.cfg: 'rate_w=0\.1' is no flag: flags begin with --"),
    ],
)
def test_a_config_with_anything_else_gets_one_clear_line(text, line, tmp_path, numbers):
    (tmp_path / "digits_sam.cfg").write_text(f"{text}\n")
    with pytest.raises(ValueError, match=line) as caught:
        numbers("sam")
    assert "\n" not in str(caught.value)


def test_every_stored_config_belongs_to_a_data_set_and_a_rule_and_is_read():
    read = flags.parse(table1.EXPERIMENT, ["table1.py"])
    assert read.config_folder == STORED
    for path in STORED.glob("*.cfg"):
        dataset, _, name = path.stem.partition("_")
        while dataset not in sj.data.datasets.REGISTRY and "_" in name:
            part, _, name = name.partition("_")
            dataset = f"{dataset}_{part}"
        assert path.suffix == ".cfg" and dataset in sj.data.datasets.REGISTRY and name in sj.RULES, path
        rule = sj.RULES[name]
        found = flags.read_config(STORED, dataset, rule)
        assert found and set(found) <= set(rule.known_numbers)
        used = read.numbers_of(rule, dataset, {})
        assert used["rate_w"] == found.get("rate_w", rule.numbers["rate_w"]) > 0


def test_an_arms_misspelt_number_is_not_passed_over(numbers):
    with pytest.raises(ValueError, match="rule sam has no number 'rate_vbar', expected some of rate_w, rate_w_bar"):
        numbers("sam", exact={"rate_vbar": 1.0})


def test_protocol_flags_reach_the_protocol(options):
    read = options(
        *("--batch_size=32", "--epochs=7", "--schedule=constant", "--warmup_epochs=1.5", "--loss=mse"),
        *("--mirror_steps_before=3", "--mirror_steps_after=2", "--activation=tanh", "--hidden_widths=9,8"),
        *("--decay_times_rate", "--downstream_widths=4,5", "--evaluate_every=3", "--rules=sam,sgd,wm"),
        *("--last_batch", "--pixels=symmetric", "--initial=uniform", "--gated=w,v"),
    )
    sam, sgd, wm = (job(read, rule) for rule in ("sam", "sgd", "wm"))
    found = sam.protocol
    assert (found.batch_size, found.epochs, found.schedule, found.warmup_epochs) == (32, 7, "constant", 1.5)
    assert (found.decay_times_rate, found.evaluate_every, found.interventions) == (True, 3, ())
    assert found.last_batch and sam.pixels == "symmetric"
    assert (sam.circuit.initial, sam.circuit.gated) == ("uniform", ("w", "v"))
    assert found.loss is sj.losses.LOSSES["mse"] and not found.auc
    assert (wm.numbers["mirror_steps_before"], wm.numbers["mirror_steps_after"]) == (3, 2)
    assert (sam.circuit.widths, sam.circuit.activation) == ((64, 9, 8, 10), "tanh")
    assert sam.circuit.downstream_widths == (4, 5) and sgd.circuit.downstream_widths == (9, 8)


def test_an_arms_fields_replace_the_flags(options):
    read = options("--hidden_widths=9,8", "--downstream_widths=4,5", "--activation=tanh")
    changed = job(read, circuit={"activation": "linear", "downstream_widths": (2, 3), "plastic": ("w",)}).circuit
    deep = job(read, circuit={"widths": (7, 6, 5), "downstream_widths": ()}).circuit
    assert (changed.widths, changed.downstream_widths) == ((64, 9, 8, 10), (2, 3))
    assert (changed.activation, changed.plastic) == ("linear", ("w",))
    assert (deep.widths, deep.downstream_widths, deep.activation) == ((64, 7, 6, 5, 10), (7, 6, 5), "tanh")
    changes = {
        "loss": sj.losses.LOSSES["mse"],
        "batch_size": 9,
        "epochs": 3,
        "schedule": "constant",
        "warmup_epochs": 0.5,
        "decay_times_rate": True,
        "auc": True,
        "evaluate_every": 2,
        "last_batch": True,
        "interventions": (sj.interventions.parse("freeze", "w@1"),),
    }
    others = {"rule", "circuit", "optimizer"}  # the arm's own, the circuit's fields, the library's alone
    assert others | set(changes) == set(training.Protocol._fields)
    protocol = job(read, protocol=changes).protocol._asdict()
    assert {name: protocol[name] for name in changes} == changes


def test_all_names_every_data_set_once_and_repeats_are_dropped(options):
    found = options("--dataset=mnist,all,mnist").dataset
    assert sorted(found) == sorted(sj.data.datasets.REGISTRY) and found[0] == "mnist"


@pytest.mark.parametrize(("name", "auc"), [("pathmnist", True), ("digits", False)])
def test_the_auc_is_measured_where_the_publisher_reports_it(name, auc, options):
    digits = sj.load("digits")._replace(name=name)
    assert job(options(), dataset=digits).protocol.auc == auc
    assert job(options("--auc"), dataset=digits).protocol.auc


def test_training_images_are_the_first_of_the_training_split_and_the_others_stay(options):
    whole = flags.load(options(), "digits")
    part = flags.load(options("--train_images=300"), "digits")
    assert len(part.train.images) == len(part.train.labels) == 300
    assert (part.train.images == whole.train.images[:300]).all()
    assert (part.train.labels == whole.train.labels[:300]).all()
    for split in ("val", "test"):
        assert len(getattr(part, split).images) == len(getattr(whole, split).images)


def test_as_many_images_may_be_asked_for_as_are_trained_on(options):
    assert options("--train_images=1400", "--train_on_val").train_images == 1400  # 1,295 and the 143 for validation
    with pytest.raises(ValueError, match="--train_images is 1400, but digits has 1295 training images"):
        options("--train_images=1400")


def test_the_validation_images_can_be_trained_on_and_are_then_not_measured(options):
    whole, both = (flags.load(options(*given), "digits") for given in ((), ("--train_on_val",)))
    count = len(whole.train.images)
    assert (both.train.images[:count] == whole.train.images).all() and len(both.val.images) == 0
    assert (both.train.images[count:] == whole.val.images).all()
    assert (both.train.labels[count:] == whole.val.labels).all() and len(both.val.labels) == 0
    assert set(sj.inputs.place(both).splits) == {"train", "test"}
    assert len(both.checksums()) == 6


def test_symmetric_pixels_go_from_minus_one_to_one():
    data = sj.inputs.place(sj.load("digits"), "symmetric")
    found = sj.inputs.standardise(data, np.array([[0] * 64, [255] * 64], np.uint8))
    assert found[0].tolist() == [-1.0] * 64 and found[1].tolist() == [1.0] * 64
    with pytest.raises(ValueError, match="pixels is 'raw', expected one of standardised, symmetric"):
        sj.inputs.place(sj.load("digits"), "raw")


def test_a_recipe_is_its_flags_and_numbers_and_the_command_line_has_the_last_word(tmp_path, numbers, options):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "theirs.cfg").write_text("--epochs=9\n--pixels=symmetric\n--hidden_widths=5\n")
    (tmp_path / "recipes" / "theirs_sam.cfg").write_text("--rate_w=0.7\n--momentum=0.9\n")
    (tmp_path / "digits_sam.cfg").write_text("--rate_v=0.3\n")  # searched, and so not read
    read = options("--recipe=theirs", "--epochs=4", "--rate_w=0.6")
    assert (read.epochs, read.pixels, read.hidden_widths) == (4, "symmetric", (5,))
    found = numbers("sam", "--recipe=theirs", "--rate_w=0.6")
    assert found == {**sj.sam.numbers, "rate_w": 0.6, "momentum": 0.9}
    with pytest.raises(ValueError, match="recipe theirs has no numbers for fa: leave the rule or --recipe out"):
        numbers("fa", "--recipe=theirs")
    with pytest.raises(ValueError, match="--recipe=ours is unknown, expected one of theirs"):
        options("--recipe=ours")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("--rate_w=nan", "--rate_w is nan, expected a finite number"),
        ("--warmup_epochs=inf", "--warmup_epochs is inf, expected a finite number"),
        ("--gated=w,u", "--gated has 'u', expected some of w, w_bar, v, v_bar"),
        ("--train_images=1296", "--train_images is 1296, but digits has 1295 training images"),
        ("--train_images=100", "batch_size is 256, expected at most the 100 training images of digits"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, line, options):
    with pytest.raises(ValueError, match=line):
        options(given)


def test_the_same_flags_are_read_twice_in_a_process_and_leave_no_trace():
    before = set(absl_flags.FLAGS)
    first = flags.parse(table1.EXPERIMENT, ["table1.py", "--epochs=7", "--rules=sgd", "--rate_w=0.5"])
    second = flags.parse(table1.EXPERIMENT, ["table1.py"])
    assert (first.epochs, [rule.name for rule in first.rules], first.given) == (7, ["sgd"], {"rate_w": 0.5})
    assert second.epochs != 7 and second.given == {} and tuple(r.name for r in second.rules) == sj.rules.TABLE1
    again = flags.parse(table1.EXPERIMENT, ["table1.py", "--epochs=7", "--rules=sgd", "--rate_w=0.5"])
    assert again == first
    assert set(absl_flags.FLAGS) == before


def test_two_scripts_side_by_side_have_flags_of_their_own():
    one = lab.Experiment("one", arms, print, flags=(lab.Flag("depth", 3, "a number"),), defaults={"epochs": 4})
    two = lab.Experiment("two", arms, print, flags=(lab.Flag("depth", ["a"], "a list"),), defaults={"epochs": 9})
    first, second = flags.parse(one, ["one.py", "--depth=5"]), flags.parse(two, ["two.py", "--depth=x,y"])
    assert (first.own.depth, first.epochs, second.own.depth, second.epochs) == (5, 4, ["x", "y"], 9)
    found = flags.parse(search.EXPERIMENT, ["search.py", "--trials=5"])
    assert found.own.trials == 5 and not hasattr(flags.parse(table1.EXPERIMENT, ["table1.py"]).own, "trials")
    with pytest.raises(absl_flags.Error, match="trials"):
        flags.parse(table1.EXPERIMENT, ["table1.py", "--trials=5"])


def test_defaults_give_way_to_the_command_line(experiment):
    changed = dataclasses.replace(experiment, defaults={"epochs": 7, "dataset": ["mnist"], "seeds": 3})
    found = flags.parse(changed, ["mine.py", "--seeds=4"])
    assert (found.epochs, found.dataset, found.seeds) == (7, ("mnist",), 4)


OWN_FILE = "import sam_jax as sj\nmine = sj.sgd.replace(name='mine', title='Mine')\nfive = 5\n"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("missing.py:mine", "there is no file .*missing.py: expected PATH.py:NAME"),
        ("own.py:other", "own.py has no rule called 'other'; it has mine"),
        ("own.py:five", "own.py has no rule called 'five'; it has mine"),
        ("empty.py:mine", "empty.py has no rule called 'mine'; it has no rule"),
        ("own.txt:mine", "own.txt is no Python file: expected PATH.py:NAME"),
        ("taken.py:mine", "is named 'sam', which is a rule of sam_jax: give it a name of its own"),
        ("own.py", "rule .*own.py' is unknown, expected one of sgd, .*, or PATH.py:NAME"),
    ],
)
def test_a_wrong_rule_of_ones_own_gets_one_line(name, line, tmp_path):
    (tmp_path / "own.py").write_text(OWN_FILE)
    (tmp_path / "own.txt").write_text(OWN_FILE)
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "taken.py").write_text("import sam_jax as sj\nmine = sj.sgd.replace(name='sam')\n")
    with pytest.raises(SystemExit, match=line) as caught:
        lab.main(table1.EXPERIMENT, ["table1.py", f"--rules=sgd,{tmp_path / name}", f"--out_dir={tmp_path / 'out'}"])
    assert str(caught.value).startswith("table1.py: ") and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_rule_of_ones_own_has_flags_of_its_numbers(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "import sam_jax as sj\nmine = sj.sgd.replace(name='mine', numbers={**sj.sgd.numbers, 'trace': 1.0})\n"
    )
    found = flags.parse(table1.EXPERIMENT, ["table1.py", f"--rules=sgd,{path}:mine", "--trace=0.5"])
    sgd, mine = found.rules
    assert found.numbers_of(mine, "digits", {})["trace"] == 0.5 and "trace" not in found.numbers_of(sgd, "digits", {})
    with pytest.raises(absl_flags.Error, match="trace"):
        flags.parse(table1.EXPERIMENT, ["table1.py", "--trace=0.5"])


def test_what_an_experiment_sets_itself_is_refused_and_a_recipe_may_name_it(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "theirs.cfg").write_text("--schedule=constant\n")
    one = lab.Experiment("mine", arms, print, rules=("sam",), configs=tmp_path, sets=("schedule", "rate_v"))
    assert flags.parse(one, ["mine.py", "--recipe=theirs"]).schedule == "constant"
    for given in ("--schedule=cosine", "--rate_v=0.1"):
        with pytest.raises(ValueError, match=f"{given.split('=')[0]} is not read by mine: leave it out"):
            flags.parse(one, ["mine.py", "--recipe=theirs", given])


@pytest.mark.parametrize("script", ["rank", "theory", "predictions"])
def test_an_experiment_on_hidden_layers_needs_one(script):
    module = importlib.import_module(f"sam_jax.experiments.{script}")
    with pytest.raises(ValueError, match="--hidden_widths is empty, expected a hidden layer at least"):
        flags.parse(module.EXPERIMENT, [script, "--dataset=digits", "--train_images=1000", "--hidden_widths="])


@pytest.mark.parametrize(
    ("script", "flag"),
    [
        ("rank", "--schedule=cosine"),
        ("rank", "--decay_times_rate"),
        ("rank", "--last_batch"),
        ("theory", "--warmup_epochs=3"),
        ("fig_s2_learning_rates", "--rate_v=9"),
        ("fig_s2_printed", "--rate_v_bar=9"),
        ("fig_s1d_overparametrization", "--activation=tanh"),
        ("fig_s1b_stationarity", "--constant_factor=0.1"),
    ],
)
def test_a_flag_that_would_make_a_label_false_is_refused(script, flag):
    module = importlib.import_module(f"sam_jax.experiments.{script}")
    constant = ["--schedule=constant"] if script == "fig_s1b_stationarity" else []
    with pytest.raises(ValueError, match=flag.split("=")[0]):
        flags.parse(module.EXPERIMENT, [script, "--dataset=digits", "--train_images=1000", *constant, flag])
