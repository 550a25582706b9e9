"""The experiments' shared flags: their checks before anything is computed, and what they mean to the library."""

import contextlib
import difflib
import math
import pathlib
import sys
import time

from absl import flags

from sam_jax import RULES, Mirroring, Synapses, datasets, losses, records, training
from sam_jax.circuit import ACTIVATIONS, PATHWAYS

FLAGS = flags.FLAGS
PRECISIONS = ("default", "high", "highest")
_PROTOCOL = training.Protocol._field_defaults

flags.DEFINE_list("dataset", ["digits"], f"data sets, of {', '.join(datasets.REGISTRY)}, or PATH.npz; or all")
flags.DEFINE_list("rules", list(RULES), f"learning rules, of {', '.join(RULES)}")
flags.DEFINE_integer("seeds", 5, "runs of each rule, with seeds 0, 1, ...", lower_bound=1)
flags.DEFINE_integer("epochs", 50, "passes over the training split", lower_bound=1)
flags.DEFINE_integer("batch_size", 256, "examples in a batch", lower_bound=1)
flags.DEFINE_list("hidden_widths", ["200", "200", "200"], "neurons of each hidden layer")
flags.DEFINE_list("downstream_widths", None, "downstream neurons of each hidden layer, for sam (default: as upstream)")
flags.DEFINE_enum("activation", "relu", ACTIVATIONS, "nonlinearity of the upstream stream")
flags.DEFINE_enum(
    "loss", None, list(losses.LOSSES), "default: cross_entropy; sigmoid_cross_entropy for multi-label data"
)
flags.DEFINE_enum("schedule", _PROTOCOL["schedule"], training.SCHEDULES, "of rates and decay alike")
flags.DEFINE_float(
    "warmup_epochs", _PROTOCOL["warmup_epochs"], "epochs of linear rise of rates and decay", lower_bound=0
)
for _pathway in PATHWAYS:
    flags.DEFINE_float(f"rate_{_pathway}", None, f"learning rate of {_pathway} (default: the rule's)", lower_bound=0)
    flags.DEFINE_float(f"scale_{_pathway}", None, f"initial scale of {_pathway} (default: the rule's)", lower_bound=0)
flags.DEFINE_float(
    "rate_factor", 1.0, "multiplies the rates and the decay of every rule, mirroring's apart", lower_bound=0
)
flags.DEFINE_float("decay", None, "γ for each step (default: the rule's)", lower_bound=0)
flags.DEFINE_bool("decay_times_rate", False, "multiply γ by each pathway's rate, as eq. (2) does")
for _name in Mirroring._fields:
    flags.DEFINE_float(f"mirror_{_name}", None, f"{_name} of weight mirroring (default: wm's)", lower_bound=0)
for _name, _when in (("mirror_steps_before", "before training"), ("mirror_steps_after", "after each update")):
    flags.DEFINE_integer(_name, _PROTOCOL[_name], f"mirror steps {_when}", lower_bound=0)
flags.DEFINE_string("data_dir", None, "folder of data sets (default: $SAM_JAX_DATA_DIR, else a cache folder)")
flags.DEFINE_string("out_dir", None, "new folder for the results (default: one in runs/)")
flags.DEFINE_bool("save_synapses", False, "also leave each rule's trained synapses, all seeds, in the results")
flags.DEFINE_enum("precision", "highest", PRECISIONS, "of float32 matrix products, where the device has several")


def _known(names, known, what):
    for name in names:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f" (did you mean {nearest[0]}?)" if nearest else ""
            raise flags.ValidationError(f"{what} {name!r} is unknown{hint}, expected {', '.join(known)}")
    if not names:
        raise flags.ValidationError(f"no {what} given, expected some of {', '.join(known)}")
    return True


def _widths(texts):
    for text in texts or ():
        if not text.isdecimal() or int(text) < 1:
            raise flags.ValidationError(f"{text!r} is no width, expected positive whole numbers, as in 200,200,200")
    return True


flags.register_validator("rules", lambda names: _known(names, list(RULES), "rule"))
flags.register_validator("hidden_widths", _widths)
flags.register_validator("downstream_widths", _widths)


@contextlib.contextmanager
def one_line_errors():
    """Ends the script with one line on what the user gave: for checks and loading, not for what is computed."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {error}")


def dataset_names() -> list[str]:
    """The data sets asked for, once each and in order; `all` are the registry's."""
    names = [name for given in FLAGS.dataset for name in (datasets.REGISTRY if given == "all" else [given])]
    return list(dict.fromkeys(names))


def rule_names() -> list[str]:
    """The rules asked for, once each and in order."""
    return list(dict.fromkeys(FLAGS.rules))


def check() -> None:
    """Raises what is wrong with the flags, before anything is compiled, downloaded or written."""
    for flag in FLAGS.flags_by_module_dict()[__name__]:
        if isinstance(flag.value, float) and not math.isfinite(flag.value):
            raise ValueError(f"--{flag.name} is {flag.value}, expected a finite number")
    for rule in rule_names():
        make_circuit(rule, 2, 2)
    if FLAGS.downstream_widths and all(RULES[rule].settings.get("one_to_one") for rule in rule_names()):
        raise ValueError("--downstream_widths is for sam alone, and sam is not among --rules: leave it out")
    if not dataset_names():
        raise ValueError("no data set given, as in --dataset=digits")
    titles = []
    for name in dataset_names():
        datasets.check(name, FLAGS.data_dir)
        if name in datasets.REGISTRY:
            spec = datasets.REGISTRY[name]
            title, task, examples = name, spec.task, spec.examples
        else:
            own = datasets.load(name)
            title, task, examples = own.name, own.task, len(own.train.images)
        if title in titles:
            raise ValueError(f"two data sets are called {title}, their results would mix: rename one of the files")
        titles.append(title)
        choose_loss(title, task)
        if FLAGS.batch_size > examples:
            raise ValueError(
                f"batch_size is {FLAGS.batch_size}, expected at most the {examples} training images of {title}"
            )
    records.check_new(out_dir())


def out_dir() -> pathlib.Path:
    """--out_dir, or a folder named by the script, the data sets and the time."""
    if FLAGS.out_dir:
        return pathlib.Path(FLAGS.out_dir).expanduser()
    stems = "-".join(pathlib.Path(name).stem for name in dataset_names())
    return pathlib.Path("runs") / f"{pathlib.Path(sys.argv[0]).stem}_{stems}_{time.strftime('%Y%m%d-%H%M%S')}"


def make_circuit(rule: str, pixels: int, classes: int):
    """The rule's circuit for images of so many pixels; only sam's downstream widths are free."""
    hidden = tuple(map(int, FLAGS.hidden_widths))
    free = FLAGS.downstream_widths and not RULES[rule].settings.get("one_to_one")
    down = tuple(map(int, FLAGS.downstream_widths)) if free else ()
    return RULES[rule]((pixels, *hidden, classes), down, activation=FLAGS.activation)


def make_settings(rule: str) -> training.Settings:
    """The rule's numbers, with those given by flags in their place."""

    def given(prefix, default):
        flagged = (getattr(FLAGS, f"{prefix}_{p}") for p in PATHWAYS)
        return Synapses(*(d if f is None else f for f, d in zip(flagged, default, strict=True)))

    row, factor = RULES[rule], FLAGS.rate_factor
    rates = given("rate", row.rates)
    if row.rates.w_bar == row.rates.w and FLAGS.rate_w_bar is None:
        rates = rates._replace(w_bar=rates.w)  # Kolen-Pollack's W̄ learns at W's rate
    rates = Synapses(*(factor * rate for rate in rates))
    decay = row.decay if FLAGS.decay is None else FLAGS.decay
    decay = decay if FLAGS.decay_times_rate else factor * decay
    flagged = {name: getattr(FLAGS, f"mirror_{name}") for name in Mirroring._fields}
    mirroring = (row.mirroring or Mirroring())._replace(**{k: v for k, v in flagged.items() if v is not None})
    return training.Settings(rates, decay, given("scale", row.scales), mirroring)


def choose_loss(name: str, task: str) -> losses.Loss:
    """--loss, or the one that fits the task; ValueError where they do not fit each other."""
    if task == "multi-label" and FLAGS.loss == "cross_entropy":
        raise ValueError(f"--loss=cross_entropy needs one label for each image, {name} has several")
    return losses.LOSSES[FLAGS.loss or ("sigmoid_cross_entropy" if task == "multi-label" else "cross_entropy")]


def make_protocol(rule: str, dataset: datasets.Dataset) -> training.Protocol:
    """What is fixed about the rule's runs on a data set."""
    known = datasets.REGISTRY.get(dataset.name)
    return training.Protocol(
        make_circuit(rule, dataset.pixels, dataset.classes),
        choose_loss(dataset.name, dataset.task),
        FLAGS.batch_size,
        FLAGS.epochs,
        schedule=FLAGS.schedule,
        warmup_epochs=FLAGS.warmup_epochs,
        decay_times_rate=FLAGS.decay_times_rate,
        mirror_steps_before=FLAGS.mirror_steps_before,
        mirror_steps_after=FLAGS.mirror_steps_after,
        auc=dataset.task == "multi-label" or (known is not None and known.auc),
    )
