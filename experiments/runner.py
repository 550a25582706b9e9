"""A run from flags to records: load, train with a progress bar, append rows as they come."""

import pathlib
import time

import jax
import numpy as np
import options
from options import FLAGS
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sam_jax import RULES, datasets, losses, probes, records, training
from sam_jax.catalogue import SPLITS


def facts(dataset: datasets.Dataset) -> dict:
    """What the manifest says of a data set; `trivial_test` is the accuracy (%) of its most frequent labels."""
    train, test = dataset.train.labels, dataset.test.labels
    usual = np.bincount(train).argmax() if train.ndim == 1 else train.mean(axis=0) > 0.5
    return {
        "source": str(dataset.source),
        "task": dataset.task,
        "shape": list(dataset.shape),
        "classes": dataset.classes,
        "sizes": {split: len(getattr(dataset, split).images) for split in SPLITS},
        "trivial_test": 100 * float(np.mean(test == usual)),
        "sha256": dataset.checksums(),
    }


def train_rule(folder, dataset, rule, data, on_epoch) -> None:
    """Trains all seeds of a rule and appends a row for each seed and epoch as they come."""
    protocol, seeds, start = options.make_protocol(rule, dataset), list(range(FLAGS.seeds)), time.perf_counter()
    labels = {split: np.asarray(data.splits[split].labels) for split in data.splits}
    align = jax.jit(jax.vmap(lambda synapses: probes.alignment(protocol.circuit, synapses)))
    for epoch, runs, metrics in training.train(protocol, options.make_settings(rule), data, seeds):
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
    names = options.dataset_names()
    with options.one_line_errors():
        for name in names:  # all of them, so that a missing one does not end a long run half way
            datasets.load(name, FLAGS.data_dir)
    manifest = {
        "flags": {flag.name: flag.value for flag in FLAGS.flags_by_module_dict()[options.__name__]},
        "settings": {rule: jax.tree.map(float, options.make_settings(rule)._asdict()) for rule in options.rule_names()},
        "data": {},
    }
    folder = records.create(options.out_dir(), manifest)
    with jax.default_matmul_precision(FLAGS.precision), progress(console) as bar:
        task = bar.add_task("", total=len(names) * len(options.rule_names()) * (FLAGS.epochs + 1))
        for name in names:
            bar.update(task, description=f"{name}: loading")
            dataset = datasets.load(name, FLAGS.data_dir)
            data = training.place(dataset)
            manifest = records.read(folder)[0]
            manifest["data"][dataset.name] = facts(dataset)
            records.write_manifest(folder, manifest)
            for rule in options.rule_names():
                bar.update(task, description=f"{dataset.name}: {RULES[rule].title}")
                train_rule(folder, dataset, rule, data, lambda: bar.advance(task))
    return folder
