"""An experiment from flags to records: its arms, their training, rows as they come, the script's main.

An experiment is a function from a data set to its arms, and a function that makes tables, figures and
verdicts from the rows. Runs that are in the folder already are not computed again.
"""

import dataclasses
import operator
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import options
import processes
from absl import app, flags, logging
from options import FLAGS
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sam_jax import datasets, inputs, losses, memory, probes, records, training
from sam_jax.catalogue import SPLITS

REMAKE = flags.DEFINE_string("remake", None, "make the tables and the figures of this run's folder again, and stop")


class Arm(NamedTuple):
    """One cell of an experiment: a rule, and what the experiment changes about it.

    Attributes:
      rule: a key of RULES.
      circuit: fields of Circuit; `widths` are the hidden ones alone.
      numbers: as the flags are named: rate_v_bar, scale_w, decay, ...
      protocol: fields of Protocol.
    """

    rule: str
    circuit: dict = {}  # noqa: RUF012 - never changed
    numbers: dict = {}  # noqa: RUF012
    protocol: dict = {}  # noqa: RUF012


Arms = Callable[[str], dict[str, Arm]]  # from a data set's name to its arms by name
Probe = Callable[[training.Protocol, training.Settings, inputs.Data, Any], dict]  # ..., synapses -> arrays by column


def align(protocol, settings, data, synapses):
    """The probe that every run has: how far paired pathways are aligned."""
    return probes.alignment(protocol.circuit, synapses)


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


def protocol_of(arm: Arm, dataset: datasets.Dataset) -> training.Protocol:
    """What is fixed about an arm's runs."""
    circuit = options.make_circuit(arm.rule, dataset.pixels, dataset.classes, **arm.circuit)
    return options.make_protocol(circuit, dataset, **arm.protocol)


def describe(arm: Arm, dataset: datasets.Dataset) -> dict:
    """All that decides an arm's runs, the seed and the images apart, for the manifest."""
    protocol = protocol_of(arm, dataset)
    settings = options.make_settings(arm.rule, dataset.name, **arm.numbers)
    return {
        "rule": arm.rule,
        "circuit": dataclasses.asdict(protocol.circuit),
        "protocol": {k: v for k, v in protocol._asdict().items() if k != "circuit"} | {"loss": protocol.loss.name},
        "settings": {
            name: value._asdict() if hasattr(value, "_asdict") else value for name, value in settings._asdict().items()
        },
        "images": len(dataset.train.images),
    }


def train_arm(folder, dataset, name, arm, data, seeds, probe, on_epochs) -> None:
    """Trains an arm's seeds and appends a row for each seed and evaluation as they come."""
    protocol, start = protocol_of(arm, dataset), time.perf_counter()
    settings = options.make_settings(arm.rule, dataset.name, **arm.numbers)
    labels = {split: np.asarray(data.splits[split].labels) for split in data.splits}
    measure = jax.jit(lambda synapses, data: probe(protocol, settings, data, synapses))
    before = 0
    for epoch, runs, metrics in training.train(protocol, settings, data, seeds):
        synapses, diverged, metrics = jax.device_get((runs.synapses, runs.diverged, metrics))
        seconds = (time.perf_counter() - start) / len(seeds)
        rows = []
        for i, seed in enumerate(seeds):
            lost = bool(diverged[i])
            row = {"dataset": dataset.name, "arm": name, "seed": seed, "epoch": epoch, "diverged": lost}
            row["seconds"] = round(seconds, 4)
            for split, measured in metrics.items():
                row[f"{split}_loss"] = None if lost else float(measured.loss[i])
                row[f"{split}_accuracy"] = None if lost else float(measured.accuracy[i])
                if protocol.auc:
                    row[f"{split}_auc"] = None if lost else losses.macro_auc(measured.scores[i], labels[split])
            probed = measure(jax.tree.map(operator.itemgetter(i), synapses), data)
            rows.append(row | {column: np.round(value, 6).tolist() for column, value in jax.device_get(probed).items()})
        records.append(folder, rows, processes.part())
        on_epochs((epoch - before) * len(seeds))
        before, start = epoch, time.perf_counter()
    if FLAGS.save_synapses:
        stem = "".join(c if c.isalnum() else "_" for c in name)
        if seeds != list(range(seeds[0], seeds[0] + len(seeds))):
            seeds_named = f"_seeds_{'_'.join(map(str, seeds))}"
        else:
            seeds_named = f"_from_seed_{seeds[0]}" if seeds[0] else ""
        records.save_synapses(folder / f"{dataset.name}_{stem}{seeds_named}.msgpack", runs.synapses)


def progress() -> Progress:
    """A progress bar on standard error with the time left; of several processes the first has it."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True, quiet=not processes.first()),
    )


def check_held(folder: pathlib.Path, loaded: list[datasets.Dataset]) -> None:
    """Raises FileExistsError if the folder holds runs in another precision, or on other images of the same name."""
    if not (folder / records.MANIFEST).is_file():
        return
    manifest = records.read(folder)[0]
    if (precision := manifest["flags"]["precision"]) != FLAGS.precision:
        raise FileExistsError(f"out_dir {folder} holds runs with --precision={precision}: give another folder")
    held = manifest["data"]
    for dataset in loaded:
        if dataset.name in held and held[dataset.name]["sha256"] != dataset.checksums():
            raise FileExistsError(
                f"out_dir {folder} holds runs on other images called {dataset.name}: give another folder"
            )


def open_run(folder: pathlib.Path, cells: dict, loaded: list[datasets.Dataset], **more) -> None:
    """Opens the folder for all processes, its manifest holding the flags, the data sets' facts and what is given.

    Raises:
      FileExistsError: it holds other runs, or runs in another precision or on other images of the same name.
    """
    check_held(folder, loaded)
    processes.meet("checked")
    if processes.first():
        flagged = {flag.name: flag.value for flag in FLAGS.flags_by_module_dict()[options.__name__]}
        records.open_run(folder, cells, flags=flagged, **more)
        manifest = records.read(folder)[0]
        manifest["data"] |= {d.name: facts(d) for d in loaded if d.name not in manifest["data"]}
        records.write_manifest(folder, manifest)
    processes.meet("opened")


def needs(arms: dict[str, Arm], dataset: datasets.Dataset) -> dict[str, memory.Need]:
    """What each arm needs of memory; the largest is told on standard error.

    Raises:
      ValueError: not even one run of an arm fits the device.
    """
    images = sum(getattr(dataset, split).images.nbytes for split in SPLITS)
    protocols = {name: protocol_of(arm, dataset) for name, arm in arms.items()}
    found = {name: memory.need(p.circuit, p.batch_size, images) for name, p in protocols.items()}
    largest = max(found, key=lambda name: found[name].run)
    memory.at_once(found[largest], 1, memory.free())
    if processes.first():
        print(f"{dataset.name}: a run of {largest} needs {memory.describe(found[largest])}", file=sys.stderr)
    return found


def run(arms: Arms, probe: Probe = align) -> pathlib.Path:
    """Trains every arm on every data set, but for the runs that the folder holds; returns the folder."""
    with options.one_line_errors():
        options.check()
        folder = options.out_dir()
        records.check(folder, {})
        # All of them, so that a missing one does not end a long run half way.
        loaded = [options.load(name) for name in options.dataset_names()]
        plan = {dataset.name: arms(dataset.name) for dataset in loaded}
        cells = {d.name: {name: describe(arm, d) for name, arm in plan[d.name].items()} for d in loaded}
        records.check(folder, cells)
        sizes = {dataset.name: needs(plan[dataset.name], dataset) for dataset in loaded}
        open_run(folder, cells, loaded)
    asked = [(d.name, name, seed) for d in loaded for name in plan[d.name] for seed in range(FLAGS.seeds)]
    done = records.finished(*records.read(folder))
    mine = processes.share([run for run in asked if run not in done])
    todo = {
        (d.name, name): [run[2] for run in mine if run[:2] == (d.name, name)] for d in loaded for name in plan[d.name]
    }
    with jax.default_matmul_precision(FLAGS.precision), progress() as bar:
        epochs = sum(cells[d][name]["protocol"]["epochs"] * len(seeds) for (d, name), seeds in todo.items())
        task = bar.add_task("", total=epochs)
        for dataset in loaded:
            data = inputs.place(dataset)
            for name, arm in plan[dataset.name].items():
                bar.update(task, description=f"{dataset.name}: {name}")
                seeds, needed = todo[dataset.name, name], sizes[dataset.name][name]._replace(shared=0)
                fit = memory.at_once(needed, len(seeds), memory.free()) * jax.local_device_count()
                for place in range(0, len(seeds), max(1, fit)):
                    some = seeds[place : place + fit]
                    train_arm(folder, dataset, name, arm, data, some, probe, lambda n: bar.advance(task, n))
    processes.wait(lambda: records.finished(*records.read(folder)) >= set(asked))
    if processes.first():
        cells = records.read(folder)[0]["cells"]
        places = {(d, name): place for place, (d, name) in enumerate((d, name) for d in cells for name in cells[d])}
        records.merge(folder, lambda row: (places[row["dataset"], row["arm"]], row["epoch"], row["seed"]))
    return folder


def main(arms: Arms, make: Callable[[pathlib.Path], None], probe: Probe = align, **defaults) -> None:
    """The whole of an experiment's script: the runs of its arms, and what `make` makes of their folder."""
    main_of(lambda: run(arms, probe), make, **defaults)


def main_of(compute: Callable[[], pathlib.Path], make: Callable[[pathlib.Path], None], **defaults) -> None:
    """The flags (with this script's `defaults`), the folder that `compute` returns, and what `make` makes of it."""

    def started(argv):
        logging.set_verbosity(logging.WARNING)
        if len(argv) > 1:
            script = pathlib.Path(argv[0]).name
            sys.exit(f"{script}: {argv[1]!r} is no flag: flags begin with --, as in --dataset=cifar10")
        if REMAKE.value:
            with options.one_line_errors():
                make(pathlib.Path(REMAKE.value).expanduser())
            return
        with options.one_line_errors():
            processes.start()
        folder = compute()
        if processes.first():
            make(folder)

    for name, value in defaults.items():
        FLAGS.set_default(name, value)
    app.run(started)
