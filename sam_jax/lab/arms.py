"""What an experiment is made of: its arms, and each arm settled on a data set."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.core
import numpy as np

from sam_jax import footprint, inputs, losses, probes, training
from sam_jax.circuit import PATHWAYS, Circuit
from sam_jax.data import datasets
from sam_jax.inputs import SPLITS
from sam_jax.rule import Rule
from sam_jax.rules import RULES

NOTHING: Mapping = flax.core.FrozenDict()


class Arm(NamedTuple):
    """One cell of an experiment: a rule, and what the experiment changes about it.

    Attributes:
      rule: a Rule, or the name of one of sam_jax's.
      title: in tables and figures; "" for the rule's title where the arm has the rule's name, else the arm's name.
      circuit: fields of Circuit; `widths` are the hidden ones alone.
      numbers: in place of all others, whatever --rate_factor is.
      protocol: fields of Protocol.
      tags: what distinguishes the arm, for those who make figures: {"ratio": 7.5}.
    """

    rule: Rule | str
    title: str = ""
    circuit: Mapping[str, Any] = NOTHING
    numbers: Mapping[str, float] = NOTHING
    protocol: Mapping[str, Any] = NOTHING
    tags: Mapping[str, Any] = NOTHING


def align(job: "Job", data: inputs.Data, synapses) -> dict:
    """The probe that every run has: how far paired pathways are aligned."""
    return probes.alignment(synapses)


def nothing(job: "Job", data: inputs.Data, synapses) -> dict:
    """No probe."""
    return {}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A script: what it trains and what it makes of it.

    Attributes:
      name: of the script, without .py.
      arms: (options, data set) -> arms by name.
      make: results -> tables, figures and verdicts in its folder.
      doc: the script's docstring, which --help shows.
      probe: (job, data, synapses) -> arrays by column, for each run and evaluation; traced.
      defaults: of flags.
      flags: of its own, a `Flag` each.
      check: options -> ValueError where they do not fit this experiment, before any data set is looked for.
      sets: shared flags and numbers that it sets itself: they are refused.
      rules: the default of --rules. The arms of an experiment that has none are its own; rules that are
        asked for run beside them.
      configs: folder of flagfiles DATASET_RULE.cfg with numbers.
      published: (data set, arm, measure) -> a published number in percent, or None.
      remarks: what a reader of a data set's numbers has to know, by data set.
      more: (options, folder, data sets) -> further computations after the runs.
    """

    name: str
    arms: Callable
    make: Callable
    doc: str = ""
    probe: Callable = align
    defaults: Mapping[str, Any] = NOTHING
    flags: tuple = ()
    check: Callable = lambda options: None
    sets: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    configs: pathlib.Path | None = None
    published: Callable = lambda dataset, arm, measure: None
    remarks: Mapping[str, str] = NOTHING
    more: Callable | None = None


class Job(NamedTuple):
    """An arm on a data set, settled: all that decides its runs, the seed and the images apart."""

    dataset: datasets.Dataset
    name: str
    title: str
    rule: Rule
    protocol: training.Protocol
    numbers: dict[str, float]
    tags: Mapping[str, Any]
    pixels: str = "standardised"

    @property
    def stem(self) -> str:
        """The data set and the arm in the names of files."""
        return f"{self.dataset.name}_{''.join(c if c.isalnum() else '_' for c in self.name)}"

    @property
    def circuit(self) -> Circuit:
        return self.protocol.circuit

    def describe(self) -> dict:
        """The job in the manifest."""
        fixed = self.protocol._asdict()
        fields = {name: value for name, value in fixed.items() if name not in ("rule", "circuit", "optimizer")}
        circuit = dataclasses.asdict(self.circuit)
        if callable(circuit["activation"]):
            circuit["activation"] = circuit["activation"].__name__
        return {
            "title": self.title,
            "rule": self.rule.name,
            "tags": dict(self.tags),
            "circuit": circuit,
            "protocol": fields | {"loss": self.protocol.loss.name},
            "numbers": self.numbers,
            "images": len(self.dataset.train.images),
            "pixels": self.pixels,
        }

    def need(self) -> footprint.Need:
        """What one of its runs needs of memory."""
        images = sum(getattr(self.dataset, split).images.nbytes for split in SPLITS)
        return footprint.need(self.rule, self.circuit, self.numbers, self.protocol.batch_size, images)


def settle(options, dataset: datasets.Dataset, name: str, arm: Arm) -> Job:
    """The arm under these options; ValueError where they do not fit each other.

    An arm's numbers are in place of all others; the flags' are in place of the config's, and those of the rule's
    own; --rate_factor multiplies what no arm has set.
    """
    rule = RULES[arm.rule] if isinstance(arm.rule, str) else arm.rule
    fields = {"widths": options.hidden_widths, "activation": options.activation, "initial": options.initial}
    if options.gated is not None:
        fields["gated"] = tuple(p for p in rule.circuit.get("gated", PATHWAYS) if p in options.gated)
    fields |= dict(arm.circuit)
    if options.downstream_widths and not {**rule.circuit, **fields}.get("one_to_one"):
        fields = {"downstream_widths": options.downstream_widths} | fields
    circuit = rule((dataset.pixels, *fields.pop("widths"), dataset.classes), **fields)
    protocol = {
        "loss": choose_loss(options, dataset.name, dataset.task),
        "batch_size": options.batch_size,
        "last_batch": options.last_batch,
        "epochs": options.epochs,
        "schedule": options.schedule,
        "warmup_epochs": options.warmup_epochs,
        "decay_times_rate": options.decay_times_rate,
        "auc": has_auc(options, dataset),
        "evaluate_every": options.evaluate_every,
    } | dict(arm.protocol)
    title = arm.title or (rule.title if name == rule.name else name)
    fixed = training.Protocol(rule.functions, circuit, **protocol)
    numbers = options.numbers_of(rule, dataset.name, arm.numbers)
    return Job(dataset, name, title, rule, fixed, numbers, arm.tags, options.pixels)


def choose_loss(options, name: str, task: str) -> losses.Loss:
    """--loss, or the one that fits the task; ValueError where they do not fit each other."""
    if task == "multi-label" and options.loss == "cross_entropy":
        raise ValueError(f"--loss=cross_entropy needs one label for each image, {name} has several")
    return losses.LOSSES[options.loss or ("sigmoid_cross_entropy" if task == "multi-label" else "cross_entropy")]


def has_auc(options, dataset: datasets.Dataset) -> bool:
    """Whether the macro AUC is reported beside the accuracy: by --auc, for several labels, by its publisher."""
    known = datasets.REGISTRY.get(dataset.name)
    return options.auc or dataset.task == "multi-label" or (known is not None and known.auc)


def without_auc(dataset: datasets.Dataset) -> list[str]:
    """The splits that no AUC is defined on: none of their classes has images within it and images without."""
    found = []
    for split in SPLITS:
        labels = getattr(dataset, split).labels
        if len(labels) and (labels == labels[0]).all():
            found.append(split)
    return found


def facts(options, dataset: datasets.Dataset, experiment: Experiment, arms) -> dict:
    """What the manifest says of a data set.

    `class_sizes` are the fewest and the most training images of a class. `measure` is what its results are
    judged by; `chance` the percent of it that needs no input: the accuracy of always answering the most frequent
    label of the training split, or an AUC of 50.
    """
    train, test = dataset.train.labels, dataset.test.labels
    usual = np.bincount(train).argmax() if train.ndim == 1 else train.mean(axis=0) > 0.5
    chance = {"accuracy": 100 * float(np.mean(test == usual))} | ({"auc": 50.0} if has_auc(options, dataset) else {})
    counts = np.bincount(train, minlength=dataset.classes) if train.ndim == 1 else train.sum(axis=0)
    published: dict[str, dict[str, float]] = {}
    for measure in chance:
        for arm in arms:
            if (number := experiment.published(dataset.name, arm, measure)) is not None:
                published.setdefault(measure, {})[arm] = number
    return {
        "source": str(dataset.source),
        "task": dataset.task,
        "measure": "auc" if dataset.task == "multi-label" else "accuracy",
        "chance": chance,
        "published": published,
        "remark": experiment.remarks.get(dataset.name, ""),
        "shape": list(dataset.shape),
        "classes": dataset.classes,
        "class_sizes": [int(counts.min()), int(counts.max())],
        "sizes": {split: len(getattr(dataset, split).images) for split in SPLITS},
        "sha256": dataset.checksums(),
    }
