"""What the experiments share: flags, checks before anything is computed, and a run from flags to records."""

import contextlib
import difflib
import pathlib
import sys
import time

import jax
import numpy as np
from absl import flags
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sam_jax import RULES, Mirroring, Synapses, datasets, losses, probes, records, training
from sam_jax.circuit import ACTIVATIONS, PATHWAYS

FLAGS = flags.FLAGS
PRECISIONS = ("default", "high", "highest")

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
flags.DEFINE_enum("schedule", "cosine", training.SCHEDULES, "of rates and decay alike")
flags.DEFINE_float("warmup_epochs", 2.0, "epochs of linear rise of rates and decay", lower_bound=0)
for _pathway in PATHWAYS:
    flags.DEFINE_float(f"rate_{_pathway}", None, f"learning rate of {_pathway} (default: the rule's)", lower_bound=0)
    flags.DEFINE_float(f"scale_{_pathway}", None, f"initial scale of {_pathway} (default: the rule's)", lower_bound=0)
flags.DEFINE_float("rate_factor", 1.0, "multiplies all rates and the decay of every rule", lower_bound=0)
flags.DEFINE_float("decay", None, "γ for each step (default: the rule's)", lower_bound=0)
flags.DEFINE_bool("decay_times_rate", False, "multiply γ by each pathway's rate, as eq. (2) does")
for _name, _default in Mirroring()._asdict().items():
    flags.DEFINE_float(f"mirror_{_name}", _default, f"{_name} of weight mirroring", lower_bound=0)
flags.DEFINE_integer("mirror_steps_before", 500, "mirror steps before training", lower_bound=0)
flags.DEFINE_integer("mirror_steps_after", 1, "mirror steps after each update", lower_bound=0)
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
    """Ends the script with one line on what the user gave; other errors keep their traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {error}")


def dataset_names() -> list[str]:
    """The data sets asked for, once each and in order; `all` are the registry's."""
    names = [name for given in FLAGS.dataset for name in (datasets.REGISTRY if given == "all" else [given])]
    return list(dict.fromkeys(names))


def check() -> None:
    """Raises what is wrong with the flags, before anything is compiled, downloaded or written."""
    for rule in FLAGS.rules:
        make_circuit(rule, 2, 2)
    if not dataset_names():
        raise ValueError("no data set given, as in --dataset=digits")
    for name in dataset_names():
        datasets.check(name, FLAGS.data_dir)
        if name in datasets.REGISTRY:
            spec = datasets.REGISTRY[name]
            examples = spec.train_size - (0 if spec.val_size else spec.train_size // 10)
            title, task = name, spec.task
        else:
            own = datasets.load(name)
            title, task, examples = own.name, own.task, len(own.train.images)
        choose_loss(title, task)
        if FLAGS.batch_size > examples:
            raise ValueError(
                f"batch_size is {FLAGS.batch_size}, expected at most the {examples} training images of {title}"
            )
    records.check_new(out_dir())


def out_dir() -> pathlib.Path:
    """--out_dir, or a folder named by the script, the data sets and the time."""
    if FLAGS.out_dir:
        return pathlib.Path(FLAGS.out_dir)
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
    decay = row.decay if FLAGS.decay is None else FLAGS.decay
    mirroring = Mirroring(*(getattr(FLAGS, f"mirror_{name}") for name in Mirroring._fields))
    rates = Synapses(*(factor * rate for rate in given("rate", row.rates)))
    return training.Settings(rates, factor * decay, given("scale", row.scales), mirroring)


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


def facts(dataset: datasets.Dataset) -> dict:
    """What the manifest says of a data set; `trivial_test` is the accuracy (%) of its most frequent labels."""
    train, test = dataset.train.labels, dataset.test.labels
    usual = np.bincount(train).argmax() if train.ndim == 1 else train.mean(axis=0) > 0.5
    return {
        "source": str(dataset.source),
        "task": dataset.task,
        "shape": list(dataset.shape),
        "classes": dataset.classes,
        "sizes": {split: len(getattr(dataset, split).images) for split in ("train", "val", "test")},
        "trivial_test": 100 * float(np.mean(test == usual)),
        "sha256": dataset.checksums(),
    }


def train_rule(folder, dataset, rule, data, on_epoch) -> None:
    """Trains all seeds of a rule and appends a row for each seed and epoch as they come."""
    protocol, seeds, start = make_protocol(rule, dataset), list(range(FLAGS.seeds)), time.perf_counter()
    labels = {split: np.asarray(data.splits[split].labels) for split in data.splits}
    align = jax.jit(jax.vmap(lambda synapses: probes.alignment(protocol.circuit, synapses)))
    for epoch, runs, metrics in training.train(protocol, make_settings(rule), data, seeds):
        aligned, diverged, metrics = jax.device_get((align(runs.synapses), runs.diverged, metrics))
        seconds = (time.perf_counter() - start) / len(seeds)
        rows = []
        for i, seed in enumerate(seeds):
            lost = bool(diverged[i])
            row = {"dataset": dataset.name, "rule": rule, "seed": seed, "epoch": epoch, "diverged": lost}
            row["seconds"] = round(seconds, 4)
            for split, measured in metrics.items():
                row[f"{split}_loss"] = None if lost else float(measured.loss[i])
                row[f"{split}_accuracy"] = None if lost else float(measured.accuracy[i])
                if protocol.auc:
                    row[f"{split}_auc"] = None if lost else losses.macro_auc(measured.scores[i], labels[split])
            rows.append(row | {name: value[i].round(4).tolist() for name, value in aligned.items()})
        records.append(folder, rows)
        on_epoch()
        start = time.perf_counter()
    if FLAGS.save_synapses:
        records.save_synapses(folder / f"{dataset.name}_{rule}.msgpack", runs.synapses)


def progress(console: Console) -> Progress:
    """A progress bar with the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def run_rules() -> pathlib.Path:
    """Trains every rule on every data set with a progress bar; returns the folder of its records."""
    console = Console(stderr=True)
    names = dataset_names()
    manifest = {
        "flags": {flag.name: flag.value for flag in FLAGS.flags_by_module_dict()[__name__]},
        "settings": {rule: jax.tree.map(float, make_settings(rule)._asdict()) for rule in FLAGS.rules},
        "data": {},
    }
    folder = records.create(out_dir(), manifest)
    with jax.default_matmul_precision(FLAGS.precision), progress(console) as bar:
        task = bar.add_task("", total=len(names) * len(FLAGS.rules) * (FLAGS.epochs + 1))
        for name in names:
            bar.update(task, description=f"{name}: loading")
            dataset = datasets.load(name, FLAGS.data_dir)
            data = training.place(dataset)
            manifest = records.read(folder)[0]
            manifest["data"][dataset.name] = facts(dataset)
            records.write_manifest(folder, manifest)
            for rule in FLAGS.rules:
                bar.update(task, description=f"{dataset.name}: {RULES[rule].title}")
                train_rule(folder, dataset, rule, data, lambda: bar.advance(task))
    return folder
