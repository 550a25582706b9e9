"""The flags that all experiments share, read once into a frozen `Options`; their checks before anything is computed.

Nothing is defined when this module, or a script, is imported: `parse` makes the flags of one experiment, reads
them, and leaves no trace. So any number of scripts live side by side in one process.
"""

import contextlib
import dataclasses
import difflib
import math
import os
import pathlib
import re
import sys
import time
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from sam_jax import losses, plasticity, training
from sam_jax.circuit import ACTIVATIONS, INITIALS, PATHWAYS
from sam_jax.data import datasets
from sam_jax.inputs import PIXELS
from sam_jax.rule import MEANINGS, NONE, Rule
from sam_jax.rules import RULES, find

PRECISIONS = ("highest", "high", "default", "BF16_BF16_F32")  # as jax.default_matmul_precision names them
_PLAINLY = (  # what Python and absl say of a flag's value
    (r"^flag (--\S+?=.*): invalid literal for int\(\).*", r"\1: expected a whole number"),
    (r"^flag (--\S+?=.*): could not convert string to float.*", r"\1: expected a number"),
    (r"^flag (--\S+?=.*): \('Non-boolean argument.*", r"\1: expected true or false"),
    (r"^flag (--\S+?=.*): value should be one of <(.*)>", r"\1: expected one of \2"),
)
_PROTOCOL = training.Protocol._field_defaults


class Flag(NamedTuple):
    """A flag of an experiment's own; its kind is that of its default.

    Attributes:
      name, default, help: as absl's; a list is one of texts.
      check: from the value to an error message, or to "" or None where it is right.
      lower: the smallest value of a number.
    """

    name: str
    default: Any
    help: str
    check: Callable | None = None
    lower: Any = None


@dataclasses.dataclass(frozen=True)
class Options:
    """What the user asked for. `own` has the experiment's own flags as attributes, `given` the numbers set by flag."""

    dataset: tuple[str, ...]
    rules: tuple[Rule, ...]
    recipe: str
    train_images: int | None
    train_on_val: bool
    pixels: str
    seeds: int
    epochs: int
    evaluate_every: int
    batch_size: int
    last_batch: bool
    hidden_widths: tuple[int, ...]
    downstream_widths: tuple[int, ...]
    activation: str
    initial: str
    gated: tuple[str, ...] | None
    loss: str | None
    auc: bool
    schedule: str
    warmup_epochs: float
    rate_factor: float
    tune: bool
    decay_times_rate: bool
    configs: bool
    data_dir: str | None
    out_dir: str | None
    save_synapses: bool
    checkpoint_every: float
    tensorboard: bool
    precision: str
    deterministic: bool
    distributed: bool
    remake: str | None
    given: Mapping[str, float]
    own: types.SimpleNamespace
    config_folder: pathlib.Path | None
    script: str
    flagged: Mapping[str, Any]  # every flag as it was read, for the manifest
    factors: Mapping[tuple[str, str], float] = NONE  # by (data set, rule), as --tune chose them

    def chosen(self, rule: Rule, dataset: str) -> dict[str, float]:
        """The numbers that the config and the flags give this rule; the flags have the last word."""
        config = {}
        if self.recipe:
            config = read_config(_recipes(self.config_folder), self.recipe, rule)
            if not config:
                raise ValueError(f"recipe {self.recipe} has no numbers for {rule.name}: leave the rule or --recipe out")
        elif self.configs:
            config = read_config(self.config_folder, dataset, rule)
        return config | {name: value for name, value in self.given.items() if name in rule.known_numbers}

    def numbers_of(self, rule: Rule, dataset: str, exact: Mapping[str, float | None]) -> dict[str, float]:
        """A rule's numbers on a data set: the flags', else the config's, else its own, times all factors.

        What is `exact` stands in place of all of them, whatever the factors of --rate_factor and --tune are.
        """
        factor = self.rate_factor * self.factors.get((dataset, rule.name), 1.0)
        return self.scaled(rule, self.chosen(rule, dataset), factor, exact)

    def scaled(
        self,
        rule: Rule,
        given: Mapping[str, float],
        factor: float,
        exact: Mapping[str, float | None] = NONE,
    ) -> dict[str, float]:
        """As `Rule.settle`, but that under --decay_times_rate, where the rate will scale it, the decay stays."""
        if self.decay_times_rate:
            exact = {name: v for name, v in rule.settle(given).items() if name.startswith("decay")} | dict(exact)
        return rule.settle(given, factor, exact)

    def folder(self) -> pathlib.Path:
        """--out_dir, or a folder named by the script, the data sets and the time."""
        if self.out_dir:
            return pathlib.Path(os.path.expanduser(self.out_dir))
        stems = "-".join(pathlib.Path(name).stem for name in self.dataset)
        return pathlib.Path("runs") / f"{self.script}_{stems}_{time.strftime('%Y%m%d-%H%M%S')}"


@contextlib.contextmanager
def one_line_errors(script: str):
    """Ends the script with one line on what the user gave: for checks and loading, not for what is computed."""
    try:
        yield
    except (ValueError, OSError, ImportError, flags.Error) as error:
        text = " ".join(str(error).split())
        for theirs, ours in _PLAINLY:
            text = re.sub(theirs, ours, text)
        sys.exit(f"{script}: {text}")


def _define_shared(values: flags.FlagValues, rules: Sequence[str]) -> None:
    """Flags of every experiment."""
    known = ", ".join(datasets.REGISTRY)

    def whole(name, default, help, lower=1):
        flags.DEFINE_integer(name, default, help, lower_bound=lower, flag_values=values)

    def text(name, default, help):
        flags.DEFINE_string(name, default, help, flag_values=values)

    def texts(name, default, help):
        flags.DEFINE_list(name, default, help, flag_values=values)

    def yes_or_no(name, default, help):
        flags.DEFINE_bool(name, default, help, flag_values=values)

    def one_of(name, default, choices, help):
        flags.DEFINE_enum(name, default, list(choices), help, flag_values=values)

    texts("dataset", ["digits"], f"data sets, of {known}, or PATH.npz; or all")
    rules_help = f"learning rules, of {', '.join(RULES)}, or PATH.py:NAME, a rule that a file of yours calls NAME"
    texts("rules", list(rules), rules_help)
    text("recipe", "", "a named protocol: configs/recipes/RECIPE.cfg, and each rule's numbers, RECIPE_RULE.cfg")
    whole("train_images", None, "train on the first so many images alone (default: all)")
    yes_or_no("train_on_val", False, "train on the validation images too, which are then not measured")
    one_of("pixels", "standardised", PIXELS, "of mean 0 and variance 1 over the training images, or -1..1 (symmetric)")
    whole("seeds", 5, "runs of each arm, with seeds 0, 1, ...")
    whole("epochs", 50, "passes over the training split")
    whole("evaluate_every", 1, "epochs between two evaluations")
    whole("batch_size", 256, "examples in a batch")
    texts("hidden_widths", ["200", "200", "200"], "neurons of each hidden layer")
    texts("downstream_widths", None, "downstream neurons of each hidden layer, for sam (default: as upstream)")
    yes_or_no("last_batch", False, "also train on what is left of an epoch after its whole batches")
    one_of("activation", "relu", ACTIVATIONS, "nonlinearity of the upstream stream")
    one_of("initial", "normal", INITIALS, "distribution that initial matrices are drawn from")
    texts("gated", None, "pathways whose postsynaptic signal is gated (default: the rule's own)")
    one_of("loss", None, losses.LOSSES, "default: cross_entropy; sigmoid_cross_entropy for multi-label data")
    yes_or_no("auc", False, "report the macro AUC too (several labels an image and MedMNIST's sets have it anyway)")
    one_of("schedule", _PROTOCOL["schedule"], plasticity.SCHEDULES, "of rates and decay alike")
    warmup = "epochs of linear rise of rates and decay"
    flags.DEFINE_float("warmup_epochs", _PROTOCOL["warmup_epochs"], warmup, lower_bound=0, flag_values=values)
    factor = "multiplies the rates and the decay of every rule (what its `scaled` names)"
    flags.DEFINE_float("rate_factor", 1.0, factor, lower_bound=0, flag_values=values)
    yes_or_no("tune", False, "choose a further such factor for each rule, on the validation images")
    yes_or_no("decay_times_rate", False, "multiply γ by each pathway's rate, as eq. (2) does")
    yes_or_no("configs", True, "use the numbers of configs/DATASET_RULE.cfg, where there is one")
    text("data_dir", None, "folder of data sets (default: $SAM_JAX_DATA_DIR, else a cache folder)")
    text("out_dir", None, "folder for the results, new or to be continued (default: one in runs/)")
    yes_or_no("save_synapses", False, "also leave each arm's trained circuits, all seeds, for sj.restore")
    every = "minutes between two checkpoints of what is being trained (0: one at each evaluation)"
    flags.DEFINE_float("checkpoint_every", 2.0, every, lower_bound=0, flag_values=values)
    yes_or_no("tensorboard", False, "also write every row for TensorBoard, into tensorboard/ of the folder")
    one_of("precision", "highest", PRECISIONS, "of float32 products, where the device has several (a CPU has one)")
    same = "have a GPU use only what gives the same bits each time, slower; a CPU does so anyway"
    yes_or_no("deterministic", False, same)
    distributed = "share the runs out over the processes that SLURM, MPI or a cloud started; needs --out_dir"
    yes_or_no("distributed", False, distributed)
    text("remake", None, "make the tables and the figures of this run's folder again, and stop")
    yes_or_no("help", False, "show this and stop")


def _define_numbers(values: flags.FlagValues, rules: Iterable[Rule]) -> tuple[str, ...]:
    """A flag for each number of the rules; returns their names."""
    owners: dict[str, list[str]] = {}
    for rule in rules:
        for name in rule.known_numbers:
            owners.setdefault(name, []).append(rule.name)
    for name, of in owners.items():
        if name in values:
            raise ValueError(f"rule {of[0]} has a number called {name}, which is a flag already: rename it")
        help = MEANINGS.get(name, f"a number of {', '.join(of)}")
        help = f"{help} (default: the config's, else the rule's)"
        flags.DEFINE_float(name, None, help, lower_bound=0, flag_values=values)
    return tuple(owners)


def _define_own(values: flags.FlagValues, own: Iterable[Flag]) -> None:
    for flag in own:
        common = {"name": flag.name, "default": flag.default, "help": flag.help, "flag_values": values}
        if isinstance(flag.default, bool):
            flags.DEFINE_bool(**common)
        elif isinstance(flag.default, int):
            flags.DEFINE_integer(**common, lower_bound=flag.lower)
        elif isinstance(flag.default, float):
            flags.DEFINE_float(**common, lower_bound=flag.lower)
        elif isinstance(flag.default, str):
            flags.DEFINE_string(**common)
        else:
            flags.DEFINE_list(**common)


def parse(experiment, argv: Sequence[str], only: Iterable[str] | None = None) -> Options | None:
    """The options in a command line, checked; None where it asks for help, which is then printed.

    Args:
      experiment: the experiment.
      argv: the script's path and its arguments.
      only: the shared flags that the experiment reads, where it does not read all; others are refused.

    Raises:
      ValueError, OSError, absl.flags.Error: what is wrong, in a line.
    """
    first = flags.FlagValues()
    _define_shared(first, experiment.rules)
    for name, value in experiment.defaults.items():
        first.set_default(name, value)
    _parse(first, argv, known_only=True)  # --rules say which numbers there are
    rules = tuple(find(name) for name in dict.fromkeys(first.rules))
    names = [rule.name for rule in rules]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two of --rules are named {twice[0]}, their results would mix: rename one")

    values = flags.FlagValues()
    _define_shared(values, experiment.rules)
    shared = [name for name in values if name != "help"]
    _define_own(values, experiment.flags)
    numbers = _define_numbers(values, [*RULES.values(), *(rule for rule in rules if rule.name not in RULES)])
    for name, value in experiment.defaults.items():
        values.set_default(name, value)
    _read_recipe(values, experiment.configs, first.recipe)
    refused = list(experiment.sets) if only is None else [n for n in (*shared, *numbers) if n not in only]
    rest = _parse(values, argv)
    if rest:
        raise ValueError(f"{rest[0]!r} is no flag: flags begin with --, as in --dataset=cifar10")
    if values.help:
        print(f"{experiment.doc}\n{_help(values, refused)}")
        return None
    for name in refused:  # a recipe's file may set it
        if (first if name in first else values)[name].present:
            raise ValueError(f"--{name} is not read by {experiment.name}: leave it out")
    for flag in (values[name] for name in values):
        if isinstance(flag.value, float) and not math.isfinite(flag.value):
            raise ValueError(f"--{flag.name} is {flag.value}, expected a finite number")
    given = {name: float(values[name].value) for name in numbers if values[name].value is not None}  # type: ignore
    for flag in experiment.flags:
        if flag.check is not None and (wrong := flag.check(values[flag.name].value)):
            raise ValueError(f"--{flag.name}={_text(values[flag.name].value)}: {wrong}")
    read_otherwise = ("dataset", "rules", "hidden_widths", "downstream_widths", "gated")
    as_read: dict[str, Any] = {name: values[name].value for name in shared if name not in read_otherwise}
    options = Options(
        **as_read,
        gated=_pathways(values.gated),
        dataset=_dataset_names(values.dataset),
        rules=rules,
        hidden_widths=_widths("hidden_widths", values.hidden_widths),
        downstream_widths=_widths("downstream_widths", values.downstream_widths),
        given=given,
        own=types.SimpleNamespace(**{flag.name: values[flag.name].value for flag in experiment.flags}),
        config_folder=experiment.configs,
        script=experiment.name,
        flagged={name: values[name].value for name in values if name not in ("help", "remake")},
    )
    if options.tune and options.train_on_val:
        raise ValueError(
            "--tune needs the validation images that --train_on_val trains on: add --notune or --notrain_on_val"
        )
    if not options.remake:
        experiment.check(options)
        check_data(options)
    return options


def _parse(values: flags.FlagValues, argv: Sequence[str], **how) -> list[str]:
    """Reads a command line; returns what of it is no flag."""
    try:
        return values(list(argv), **how)[1:]
    except RecursionError:  # absl looks for a name that is like it
        raise ValueError("a flag's name is too long: expected one of those that --help shows") from None


def _recipes(folder):
    return folder / "recipes" if folder else None


def _read_recipe(values: flags.FlagValues, folder: pathlib.Path | None, recipe: str) -> None:
    """Sets the flags of the recipe's file, which the command line then may change."""
    if not recipe:
        return
    every = sorted(_recipes(folder).glob("*.cfg")) if folder else []
    known = {path.stem: path for path in every if "_" not in path.stem}
    if recipe not in known:
        there = ", ".join(known) or "none: there is none here"
        raise ValueError(f"--recipe={recipe} is unknown, expected one of {there}")
    path = known[recipe]
    _parse(values, [path.name, f"--flagfile={path}"])


def _pathways(names: Sequence[str] | None) -> tuple[str, ...] | None:
    for name in names or ():
        if name not in PATHWAYS:
            raise ValueError(f"--gated has {name!r}, expected some of {', '.join(PATHWAYS)}")
    return None if names is None else tuple(names)


def _help(values, refused):
    shown = [values[name] for name in sorted(values) if name not in refused]
    return "\n".join(f"  --{flag.name}={_text(flag.default)}\n      {flag.help}" for flag in shown)


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else "" if value is None else str(value)


def _widths(name: str, texts: Sequence[str] | None) -> tuple[int, ...]:
    for text in texts or ():
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(f"--{name} has {text!r}, expected positive whole numbers, as in 200,200,200")
    return tuple(map(int, texts or ()))


def _dataset_names(given: Sequence[str]) -> tuple[str, ...]:
    """The data sets asked for, once each and in order; `all` are the registry's."""
    names = [name for part in given for name in (datasets.REGISTRY if part == "all" else [part])]
    return tuple(dict.fromkeys(names))


def among(known: Iterable[str], what: str) -> Callable:
    """A `Flag.check`: every name is one of these, and there is one at least."""
    known = list(known)

    def check(names) -> str | None:
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                return f"{what} {name!r} is unknown{hint}, expected {', '.join(known)}"
        return None if names else f"no {what} given, expected some of {', '.join(known)}"

    return check


def numbers(low: float = 0.0) -> Callable:
    """A `Flag.check`: a list of finite numbers above `low`."""

    def check(texts) -> str | None:
        for text in texts:
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if not (math.isfinite(value) and value > low):
                return f"{text!r} is no number above {low:g}"
        return None if texts else f"expected numbers above {low:g}"

    return check


def need_validation(options: Options) -> None:
    """The check of an experiment that chooses by validation accuracy."""
    if options.train_on_val:
        raise ValueError("--train_on_val leaves no image to choose the best by: add --notrain_on_val")


def need_hidden(options: Options) -> None:
    """The check of an experiment on the hidden layers' V and V̄."""
    if not options.hidden_widths:
        raise ValueError("--hidden_widths is empty, expected a hidden layer at least: only these have V and V̄")


def need_nothing_given(options: Options) -> None:
    """The check of an experiment that sets all numbers itself: no flag of a number, unless for a rule beside it."""
    if options.rules:
        return
    for name in (*options.given, *(name for name in ("recipe", "tune") if getattr(options, name))):
        raise ValueError(f"--{name} changes nothing in {options.script}, which sets its own numbers: leave it out")


def check_data(options: Options) -> None:
    """Raises what is wrong with the data sets, before anything is compiled, downloaded or written."""
    from sam_jax.lab.arms import choose_loss

    if not options.dataset:
        raise ValueError("no data set given, as in --dataset=digits")
    titles: list[str] = []
    for name in options.dataset:
        datasets.check(name, options.data_dir)
        if name in datasets.REGISTRY:
            spec = datasets.REGISTRY[name]
            title, task = name, spec.task
            examples = spec.train_size + (spec.val_size or 0) if options.train_on_val else spec.examples
        else:
            own = datasets.load(name)
            title, task = own.name, own.task
            examples = len(own.train.images) + (len(own.val.images) if options.train_on_val else 0)
        if title in titles:
            raise ValueError(f"two data sets are called {title}, their results would mix: rename one of the files")
        titles.append(title)
        choose_loss(options, title, task)
        if options.train_images and options.train_images > examples:
            raise ValueError(f"--train_images is {options.train_images}, but {title} has {examples} training images")
        examples = options.train_images or examples
        if options.batch_size > examples:
            raise ValueError(
                f"batch_size is {options.batch_size}, expected at most the {examples} training images of {title}"
            )


def load(options: Options, name: str) -> datasets.Dataset:
    """The data set, with no more training images than --train_images, --train_on_val's among them."""
    dataset = datasets.load(name, options.data_dir)
    if options.train_on_val:
        both = (np.concatenate(pair) for pair in zip(dataset.train, dataset.val, strict=True))
        none = datasets.Split(*(array[:0] for array in dataset.val))
        dataset = dataset._replace(train=datasets.Split(*both), val=none)
    return dataset._replace(train=datasets.Split(*(array[: options.train_images] for array in dataset.train)))


def read_config(folder: pathlib.Path | None, dataset: str, rule: Rule) -> dict[str, float]:
    """The numbers of the data set's and rule's flagfile; {} where there is none.

    Raises:
      ValueError: the file holds anything but flags of the rule's numbers with finite values.
    """
    path = folder / f"{dataset}_{rule.name}.cfg" if folder else None
    if path is None or not path.is_file():
        return {}
    values = flags.FlagValues()
    names = _define_numbers(values, [rule])
    try:
        rest = _parse(values, [path.name, f"--flagfile={path}"])
    except (ValueError, flags.Error) as error:
        raise ValueError(f"{path}: {error}") from None
    if rest:  # absl stops reading there
        raise ValueError(f"{path}: {rest[0]!r} is no flag: flags begin with --, as in --rate_w=0.1")
    found: dict[str, Any] = {name: values[name].value for name in names if values[name].present}
    for name, value in found.items():
        if not math.isfinite(value):
            raise ValueError(f"{path}: --{name} is {value}, expected a finite number")
    return found
