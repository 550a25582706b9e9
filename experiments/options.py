"""The experiments' shared flags: their checks before anything is computed, and what they mean to the library."""

import contextlib
import difflib
import functools
import math
import pathlib
import sys
import time

from absl import flags

from sam_jax import RULES, Mirroring, Synapses, datasets, losses, plasticity, sweep, training
from sam_jax.circuit import ACTIVATIONS, PATHWAYS

FLAGS = flags.FLAGS
PRECISIONS = ("highest", "high", "default", "BF16_BF16_F32")  # as jax.default_matmul_precision names them
CONFIGS = pathlib.Path(__file__).parent / "configs"
_PROTOCOL = training.Protocol._field_defaults

flags.DEFINE_list("dataset", ["digits"], f"data sets, of {', '.join(datasets.REGISTRY)}, or PATH.npz; or all")
flags.DEFINE_integer("train_images", None, "train on the first so many images alone (default: all)", lower_bound=1)
flags.DEFINE_integer("seeds", 5, "runs of each arm, with seeds 0, 1, ...", lower_bound=1)
flags.DEFINE_integer("epochs", 50, "passes over the training split", lower_bound=1)
flags.DEFINE_integer("evaluate_every", 1, "epochs between two evaluations", lower_bound=1)
flags.DEFINE_integer("batch_size", 256, "examples in a batch", lower_bound=1)
flags.DEFINE_list("hidden_widths", ["200", "200", "200"], "neurons of each hidden layer")
flags.DEFINE_list("downstream_widths", None, "downstream neurons of each hidden layer, for sam (default: as upstream)")
flags.DEFINE_enum("activation", "relu", ACTIVATIONS, "nonlinearity of the upstream stream")
flags.DEFINE_enum(
    "loss", None, list(losses.LOSSES), "default: cross_entropy; sigmoid_cross_entropy for multi-label data"
)
flags.DEFINE_enum("schedule", _PROTOCOL["schedule"], plasticity.SCHEDULES, "of rates and decay alike")
flags.DEFINE_float(
    "warmup_epochs", _PROTOCOL["warmup_epochs"], "epochs of linear rise of rates and decay", lower_bound=0
)
flags.DEFINE_float(
    "rate_factor", 1.0, "multiplies the rates and the decay of every rule, mirroring's apart", lower_bound=0
)
flags.DEFINE_bool("decay_times_rate", False, "multiply γ by each pathway's rate, as eq. (2) does")
for _name, _when in (("mirror_steps_before", "before training"), ("mirror_steps_after", "after each update")):
    flags.DEFINE_integer(_name, _PROTOCOL[_name], f"mirror steps {_when}", lower_bound=0)
flags.DEFINE_bool("configs", True, "use the numbers of experiments/configs/DATASET_RULE.cfg, where there is one")
flags.DEFINE_string("data_dir", None, "folder of data sets (default: $SAM_JAX_DATA_DIR, else a cache folder)")
flags.DEFINE_string("out_dir", None, "folder for the results, new or to be continued (default: one in runs/)")
flags.DEFINE_bool("save_synapses", False, "also leave each arm's trained synapses, all seeds, in the results")
flags.DEFINE_enum(
    "precision", "highest", PRECISIONS, "of float32 matrix products, where the device has several (a CPU has one)"
)


def _define_numbers(values=FLAGS):
    """The flags that a config may hold: a rule's rates, decay, scales and mirroring."""
    define = functools.partial(flags.DEFINE_float, default=None, lower_bound=0, flag_values=values)
    for pathway in PATHWAYS:
        define(f"rate_{pathway}", help=f"learning rate of {pathway} (default: the config's, else the rule's)")
        define(f"scale_{pathway}", help=f"initial scale of {pathway} (default: the config's, else the rule's)")
    define("decay", help="γ for each step (default: the config's, else the rule's)")
    for name in Mirroring._fields:
        define(f"mirror_{name}", help=f"{name} of weight mirroring (default: the config's, else wm's)")


_define_numbers()
NUMBERS = (
    *(f"{kind}_{p}" for kind in ("rate", "scale") for p in PATHWAYS),
    "decay",
    *(f"mirror_{name}" for name in Mirroring._fields),
)


def _widths(texts):
    for text in texts or ():
        if not text.isdecimal() or int(text) < 1:
            raise flags.ValidationError(f"{text!r} is no width, expected positive whole numbers, as in 200,200,200")
    return True


flags.register_validator("hidden_widths", _widths)
flags.register_validator("downstream_widths", _widths)


def known(names, of, what) -> bool:
    """A validator: True, or flags.ValidationError where a name is not one `of` these, or none is given."""
    for name in names:
        if name not in of:
            nearest = difflib.get_close_matches(name, of, n=1)
            hint = f" (did you mean {nearest[0]}?)" if nearest else ""
            raise flags.ValidationError(f"{what} {name!r} is unknown{hint}, expected {', '.join(of)}")
    if not names:
        raise flags.ValidationError(f"no {what} given, expected some of {', '.join(of)}")
    return True


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


def check() -> None:
    """Raises what is wrong with the flags and the data sets, before anything is compiled, downloaded or written."""
    for flag in FLAGS.flags_by_module_dict()[__name__]:
        if isinstance(flag.value, float) and not math.isfinite(flag.value):
            raise ValueError(f"--{flag.name} is {flag.value}, expected a finite number")
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
        if FLAGS.train_images and FLAGS.train_images > examples:
            raise ValueError(f"--train_images is {FLAGS.train_images}, but {title} has {examples} training images")
        examples = FLAGS.train_images or examples
        if FLAGS.batch_size > examples:
            raise ValueError(
                f"batch_size is {FLAGS.batch_size}, expected at most the {examples} training images of {title}"
            )


def load(name: str) -> datasets.Dataset:
    """The data set, with no more training images than --train_images."""
    dataset = datasets.load(name, FLAGS.data_dir)
    return dataset._replace(train=datasets.Split(*(array[: FLAGS.train_images] for array in dataset.train)))


def out_dir() -> pathlib.Path:
    """--out_dir, or a folder named by the script, the data sets and the time."""
    if FLAGS.out_dir:
        return pathlib.Path(FLAGS.out_dir).expanduser()
    stems = "-".join(pathlib.Path(name).stem for name in dataset_names())
    return pathlib.Path("runs") / f"{pathlib.Path(sys.argv[0]).stem}_{stems}_{time.strftime('%Y%m%d-%H%M%S')}"


def make_circuit(rule: str, pixels: int, classes: int, **fields):
    """The rule's circuit for images of so many pixels; only sam's downstream widths are free.

    `fields` of Circuit replace what the flags say.
    """
    hidden = tuple(map(int, FLAGS.hidden_widths))
    free = FLAGS.downstream_widths and not RULES[rule].settings.get("one_to_one")
    down = tuple(map(int, FLAGS.downstream_widths)) if free else ()
    fields = {"widths": hidden, "downstream_widths": down, "activation": FLAGS.activation} | fields
    return RULES[rule]((pixels, *fields.pop("widths"), classes), **fields)


def config(dataset: str, rule: str) -> dict[str, float]:
    """The numbers of the data set's and rule's flagfile; {} where there is none, or --noconfigs was given.

    Raises:
      ValueError: the file holds anything but these flags with finite numbers.
    """
    path = CONFIGS / f"{dataset}_{rule}.cfg"
    if not FLAGS.configs or not path.is_file():
        return {}
    values = flags.FlagValues()
    _define_numbers(values)
    try:
        _, *rest = values([path.name, f"--flagfile={path}"])
    except flags.Error as error:
        raise ValueError(f"{path}: {error}") from None
    if rest:  # absl stops reading there
        raise ValueError(f"{path}: {rest[0]!r} is no flag: flags begin with --, as in --rate_w=0.1")
    found = {name: values[name].value for name in NUMBERS if values[name].present}
    for name, value in found.items():
        if not math.isfinite(value):
            raise ValueError(f"{path}: --{name} is {value}, expected a finite number")
    return found


def make_settings(rule: str, dataset: str, **numbers: float) -> training.Settings:
    """The rule's numbers: `numbers`, named as the flags are; else the flags; else the config's; else the rule's own."""
    if unknown := numbers.keys() - set(NUMBERS):
        raise TypeError(f"number {min(unknown)!r} is unknown, expected some of {', '.join(NUMBERS)}")
    flagged = {name: FLAGS[name].value for name in NUMBERS if FLAGS[name].value is not None}
    settings, factor = sweep.settings_of(rule, config(dataset, rule) | flagged | numbers), FLAGS.rate_factor
    decay = settings.decay if FLAGS.decay_times_rate else factor * settings.decay
    return settings._replace(rates=Synapses(*(factor * rate for rate in settings.rates)), decay=decay)


def choose_loss(name: str, task: str) -> losses.Loss:
    """--loss, or the one that fits the task; ValueError where they do not fit each other."""
    if task == "multi-label" and FLAGS.loss == "cross_entropy":
        raise ValueError(f"--loss=cross_entropy needs one label for each image, {name} has several")
    return losses.LOSSES[FLAGS.loss or ("sigmoid_cross_entropy" if task == "multi-label" else "cross_entropy")]


def make_protocol(circuit, dataset: datasets.Dataset, **fields) -> training.Protocol:
    """What is fixed about the runs of a circuit on a data set; `fields` of Protocol replace what the flags say."""
    known_set = datasets.REGISTRY.get(dataset.name)
    flagged = {
        "loss": choose_loss(dataset.name, dataset.task),
        "batch_size": FLAGS.batch_size,
        "epochs": FLAGS.epochs,
        "schedule": FLAGS.schedule,
        "warmup_epochs": FLAGS.warmup_epochs,
        "decay_times_rate": FLAGS.decay_times_rate,
        "mirror_steps_before": FLAGS.mirror_steps_before,
        "mirror_steps_after": FLAGS.mirror_steps_after,
        "auc": dataset.task == "multi-label" or (known_set is not None and known_set.auc),
        "evaluate_every": FLAGS.evaluate_every,
    }
    return training.Protocol(circuit, **(flagged | fields))
