"""An experiment from options to records: its jobs, their training, rows as they come, the script's main.

Runs that are in the folder already are not computed again.
"""

import contextlib
import dataclasses
import operator
import os
import pathlib
import re
import signal
import sys
import time
from collections.abc import Callable

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sam_jax import footprint, inputs, training
from sam_jax.lab import checkpoints, flags, interruption, processes, records
from sam_jax.lab.arms import Arm, Experiment, Job, facts, settle, without_auc
from sam_jax.lab.board import Board
from sam_jax.lab.flags import Options
from sam_jax.lab.results import Results
from sam_jax.lab.trials import measured
from sam_jax.lab.tune import factors_of, tune
from sam_jax.rule import DECAYS
from sam_jax.trained import Trained, save


def main(experiment: Experiment, argv: list[str] | None = None) -> None:
    """The whole of an experiment's script: flags, the runs of its arms, and what `make` makes of their folder."""
    main_of(experiment, run, argv)


def main_of(experiment: Experiment, compute: Callable, argv: list[str] | None = None, **parsing) -> None:
    """The options, the folder that `compute(experiment, options)` returns, and what `make` makes of it."""
    with contextlib.ExitStack() as held:
        with flags.one_line_errors(f"{experiment.name}.py"):
            options = flags.parse(experiment, sys.argv if argv is None else argv, **parsing)
            if options is None:
                return
            if options.remake:
                experiment.make(made_by(experiment, Results.read(os.path.expanduser(options.remake))))
                return
            processes.start(options)
            options = dataclasses.replace(options, out_dir=str(options.folder()))
            if processes.first():  # for all processes of one run
                held.enter_context(records.only_writer(options.folder()))
        try:
            folder = compute(experiment, options)
        except KeyboardInterrupt as error:
            print(
                f"\n{experiment.name}.py: interrupted; what is done is in {options.out_dir}: the same command with "
                f"--out_dir={options.out_dir} goes on",
                file=sys.stderr,
            )
            sys.exit(128 + (error.signal if isinstance(error, interruption.Interrupted) else signal.SIGINT))
        except OSError as error:  # a full disk, or one that has vanished
            sys.exit(f"{experiment.name}.py: {error}: what was done before is in {options.out_dir}")
        if processes.first():
            experiment.make(Results.read(folder))


def made_by(experiment: Experiment, results: Results) -> Results:
    """The results, if this experiment has made them: another one's tables and verdicts are not to be replaced."""
    maker = results.manifest.get("experiment", experiment.name)
    if maker != experiment.name:
        raise ValueError(f"--remake={results.folder} holds runs of {maker}.py: remake them by that script")
    return results


def run(experiment: Experiment, options: Options) -> pathlib.Path:
    """Trains every arm on every data set, but for the runs that the folder holds; returns the folder."""
    with flags.one_line_errors(f"{experiment.name}.py"):
        folder = options.folder()
        records.check(folder, "experiment", {}, experiment.name)
        # All of them, so that a missing one does not end a long run half way.
        loaded = [flags.load(options, name) for name in options.dataset]
        jobs = [job for dataset in loaded for job in plan(experiment, options, dataset)]
        check_names(jobs)
        check_numbers(options, jobs)
        needs = check_memory(jobs)
        check_saved(jobs, folder, options)
        if not options.tune:
            open_folder(folder, experiment, options, "experiment", jobs)
    tell([*needs, *undefined(jobs), *unsearched(options, jobs)])
    if options.tune:
        chosen = tune(experiment, options, folder, loaded, list(dict.fromkeys(job.rule for job in jobs)))
        options = dataclasses.replace(options, factors=factors_of(chosen))
        with flags.one_line_errors(f"{experiment.name}.py"):
            jobs = [job for dataset in loaded for job in plan(experiment, options, dataset)]
            open_folder(folder, experiment, options, "experiment", jobs, tuned=chosen)
            if processes.first():
                (folder / records.TUNING).unlink(missing_ok=True)
    train(jobs, folder, experiment, options)
    if experiment.more is not None and processes.first():
        experiment.more(options, folder, loaded)
    return folder


def plan(experiment: Experiment, options: Options, dataset) -> list[Job]:
    """The jobs of a data set: the experiment's arms, and beside them the rules that are asked for."""
    arms = dict(experiment.arms(options, dataset))
    for rule in options.rules:
        arms.setdefault(rule.name, Arm(rule))
    return [settle(options, dataset, name, arm) for name, arm in arms.items()]


def check_names(jobs: list[Job]) -> None:
    """Raises ValueError where there is no job, or two would write files of one name."""
    if not jobs:
        raise ValueError("--rules is empty and leaves nothing to train: give some, as in --rules=sgd,sam")
    stems: dict[str, Job] = {}
    for job in jobs:
        other = stems.setdefault(job.stem, job)
        if other is not job:
            raise ValueError(f"{other.name} and {job.name} would both write files called {job.stem}: rename one")


def check_numbers(options: Options, jobs: list[Job]) -> None:
    """Raises ValueError where a number that was given by flag changes none of these jobs."""
    rules = list(dict.fromkeys(job.rule for job in jobs))
    names = ", ".join(rule.name for rule in rules)
    for name in options.given:
        if not any(name in rule.known_numbers for rule in rules):
            raise ValueError(f"--{name} is a number of none of the rules here ({names}): leave it out")
        if name in DECAYS and not any(name == f"decay_{p}" for job in jobs for p in job.circuit.plastic):
            raise ValueError(f"--{name}: this pathway is plastic in none of the rules here ({names}): leave it out")
        if name == "momentum_kept" and not any(job.numbers.get("momentum") for job in jobs):
            raise ValueError("--momentum_kept needs a momentum: give --momentum, or leave it out")
    if options.downstream_widths and all(job.circuit.one_to_one for job in jobs):
        names = ", ".join(dict.fromkeys(job.rule.name for job in jobs))
        raise ValueError(f"--downstream_widths: no rule here ({names}) has downstream neurons of its own: leave it out")


def check_memory(jobs: list[Job]) -> list[str]:
    """A line for each data set, on what its largest run needs; ValueError where not even one fits."""
    found = []
    for dataset in dict.fromkeys(job.dataset.name for job in jobs):
        largest = max((job for job in jobs if job.dataset.name == dataset), key=lambda job: job.need().run)
        needed = largest.need()
        footprint.at_once(needed, 1, footprint.free())
        found.append(f"{dataset}: a run of {largest.name} needs {footprint.describe(needed)}")
    return found


def undefined(jobs: list[Job]) -> list[str]:
    """A line for each data set with a split on which the AUC that is asked for is not defined."""
    found = []
    for dataset in {id(job.dataset): job.dataset for job in jobs if job.protocol.auc}.values():
        if splits := without_auc(dataset):
            where = ", ".join(splits)
            found.append(f"{dataset.name}: no AUC on {where}, where all labels are alike: a dash in the tables")
    return found


def unsearched(options: Options, jobs: list[Job]) -> list[str]:
    """A line for each data set on which some rule has neither searched numbers nor any of the experiment's own."""
    if options.tune or options.recipe or not options.configs:
        return []
    found = []
    for dataset in dict.fromkeys(job.dataset.name for job in jobs):
        rate = {rule: options.numbers_of(rule, dataset, {}).get("rate_w") for rule in {job.rule for job in jobs}}
        here = (job for job in jobs if job.dataset.name == dataset and job.numbers.get("rate_w") == rate[job.rule])
        names = {job.rule.name: job.rule for job in here}
        own = [name for name, rule in names.items() if not options.chosen(rule, dataset)]
        if own:
            found.append(
                f"{dataset}: no numbers were searched here for {', '.join(own)}: their defaults are used; "
                "--tune chooses a factor for each first"
            )
    return found


def check_saved(jobs: list[Job], folder: pathlib.Path, options: Options) -> None:
    """Raises FileExistsError where --save_synapses comes too late: a run is finished, and its synapses are gone."""
    if not (options.save_synapses and (folder / records.MANIFEST).is_file()):
        return
    done = records.finished(*records.read(folder))
    for job in jobs:
        lost = any((job.dataset.name, job.name, seed) in done for seed in range(options.seeds))
        saved = re.compile(re.escape(job.stem) + r"(_from_seed_\d+|_seeds_[\d_]+)?\.msgpack")
        if lost and not any(saved.fullmatch(path.name) for path in folder.iterdir()):
            raise FileExistsError(
                f"out_dir {folder} has runs of {job.name} that ended without --save_synapses: "
                "give another folder to train them again"
            )


def tell(lines: list[str]) -> None:
    """Lines on standard error; of several processes the first has it."""
    if processes.first():
        print(*lines, sep="\n", file=sys.stderr)


def open_folder(
    folder, experiment: Experiment, options: Options, kind: str, jobs: list[Job], tuned: dict | None = None, **more
) -> None:
    """Opens the folder for all processes, its manifest holding the jobs, the flags and the data sets' facts.

    Args:
      folder, experiment, options, jobs: of the run.
      kind: "experiment" or "search".
      tuned: what --tune chose.
      more: `stages` of a search.

    Raises:
      FileExistsError: it holds other runs, or runs in another precision or on other images of the same name.
    """
    cells: dict[str, dict] = {}
    data = {}
    for job in jobs:
        cells.setdefault(job.dataset.name, {})[job.name] = job.describe()
    for dataset in {id(job.dataset): job.dataset for job in jobs}.values():
        data[dataset.name] = facts(options, dataset, experiment, cells[dataset.name])
    fixed = {"numerics": records.numerics(options), **more}
    records.check(folder, kind, cells, experiment.name, **fixed)
    _check_images(folder, data)
    processes.meet("checked")
    if processes.first():
        kept: dict[tuple[str, str, int], int] = {}
        for one in reversed(checkpoints.found(folder)):  # the furthest last
            kept |= {(one.dataset, one.arm, seed): one.epoch for seed in one.seeds}
        flagged = _as_json(options.flagged)
        records.open_run(folder, kind, cells, data, fixed, kept, tuned, experiment.name, flags=flagged)
    processes.meet("opened")
    if not processes.first():  # each has tuned for itself, and must have found what the first wrote
        records.check(folder, kind, cells, experiment.name, **fixed)


def _as_json(flagged):
    return {name: list(value) if isinstance(value, tuple) else value for name, value in flagged.items()}


def _check_images(folder, data):
    if (folder / records.MANIFEST).is_file():
        held = records.read(folder)[0]["data"]
        for name, known in data.items():
            if name in held and held[name]["sha256"] != known["sha256"]:
                raise FileExistsError(f"out_dir {folder} holds runs on other images called {name}: give another folder")


def train(jobs: list[Job], folder: pathlib.Path, experiment: Experiment, options: Options) -> None:
    """This process's share of what is missing; waits for the others' and merges their rows."""
    asked = [(job.dataset.name, job.name, seed) for job in jobs for seed in range(options.seeds)]
    done, kept = records.finished(*records.read(folder)), checkpoints.found(folder)
    if processes.first():
        checkpoints.tidy(folder, done, kept)
    processes.meet("shared out")  # all know the same as done: one that was ahead would have changed it
    mine = set(processes.share([run for run in asked if run not in done]))
    seeds_of = [[s for s in range(options.seeds) if (job.dataset.name, job.name, s) in mine] for job in jobs]
    groups_of = [checkpoints.groups(job, seeds, kept) for job, seeds in zip(jobs, seeds_of, strict=True)]
    total = sum(job.protocol.epochs * len(seeds) for job, seeds in zip(jobs, seeds_of, strict=True))
    past = sum(one.epoch * len(group) for groups in groups_of for group, one in groups if one is not None)
    placed: tuple = (None, None)
    with contextlib.ExitStack() as held:
        held.enter_context(jax.default_matmul_precision(options.precision))
        stop, bar = held.enter_context(interruption.asked()), held.enter_context(progress())
        board = held.enter_context(Board(folder)) if options.tensorboard else None
        task = bar.add_task("", total=total, completed=past)
        for job, seeds, groups in zip(jobs, seeds_of, groups_of, strict=True):
            if not seeds:
                continue
            if placed[0] is not job.dataset:
                placed = job.dataset, inputs.place(job.dataset, job.pixels)
            bar.update(task, description=f"{job.dataset.name}: {job.title}")
            # The images are on the device already.
            fit = footprint.at_once(job.need()._replace(shared=0), len(seeds), footprint.free())
            if jax.default_backend() != "cpu":  # whose virtual devices share one memory
                fit *= jax.local_device_count()

            def told(rows, epochs, name=job.stem):
                bar.advance(task, epochs * len(rows))
                if board is not None:
                    board.add(name, rows)

            for group, checkpoint in groups:
                for first in range(0, len(group), fit):
                    some = group[first : first + fit]
                    train_job(job, some, checkpoint, placed[1], folder, experiment.probe, options, told, stop)
    processes.wait(lambda: records.finished(*records.read(folder)) >= set(asked))
    if processes.first():
        manifest, rows = records.read(folder)
        checkpoints.tidy(folder, records.finished(manifest, rows), checkpoints.found(folder))
        cells = manifest["cells"]
        places = {cell: place for place, cell in enumerate((d, name) for d in cells for name in cells[d])}
        records.merge(folder, lambda row: (places[row["dataset"], row["arm"]], row["epoch"], row["seed"]))


def train_job(
    job: Job,
    seeds: list[int],
    checkpoint: checkpoints.Unfinished | None,
    data: inputs.Data,
    folder: pathlib.Path,
    probe: Callable,
    options: Options,
    told: Callable,
    stop: interruption.Asked,
) -> None:
    """Trains a job's seeds, from a checkpoint on where there is one; appends a row for each seed and evaluation.

    `told(rows, epochs)` is called with the rows of an evaluation and the epochs since the last one.

    Raises:
      Interrupted: a signal has asked to stop; the state of these runs is kept.
    """
    start, before, resumed, lost = time.perf_counter(), 0, None, np.zeros(len(seeds), bool)
    if checkpoint is not None:
        before = checkpoint.epoch
        resumed = before, checkpoints.restore(checkpoint, seeds, job, data)
        lost = np.array(resumed[1].diverged)
    saved = start
    labels = {split: np.asarray(data.splits[split].labels) for split in data.splits}
    measure = jax.jit(lambda synapses, data: probe(job, data, synapses))
    for epoch, runs, metrics in training.train(job.protocol, job.numbers, data, seeds, resumed):
        synapses, diverged, metrics = jax.device_get((runs.synapses, runs.diverged, metrics))
        seconds = round((time.perf_counter() - start) / len(seeds), 4)
        rows = []
        for i, seed in enumerate(seeds):
            row = {"dataset": job.dataset.name, "arm": job.name, "seed": seed, "epoch": epoch}
            row |= {"diverged": bool(diverged[i]), "seconds": seconds}
            row |= measured(metrics, i, bool(diverged[i]), labels if job.protocol.auc else {})
            if diverged[i] and not lost[i]:
                one = jax.tree.map(operator.itemgetter(i), runs)
                where = training.first_to_diverge(job.protocol, job.numbers, data, one, epoch)
                row |= dict(zip(("diverged_epoch", "diverged_pathway"), where, strict=True))
            probed = measure(jax.tree.map(operator.itemgetter(i), synapses), data)
            rows.append(row | {column: np.round(value, 6).tolist() for column, value in jax.device_get(probed).items()})
        if options.save_synapses and epoch == job.protocol.epochs:  # before the rows that say the run is finished
            fixed = (job.rule, job.circuit, job.protocol.loss)
            memory, mean, std = jax.device_get((runs.memory, data.mean, data.std))
            trained = Trained(*fixed, synapses, memory, mean, std, tuple(seeds), diverged)
            save(folder / file_name(job, seeds), trained)
        records.append(folder, rows, processes.part())
        lost = diverged
        told(rows, epoch - before)
        due = time.perf_counter() - saved >= 60 * options.checkpoint_every
        if epoch < job.protocol.epochs and processes.part() is None and (due or stop.signal):
            checkpoints.save(folder, job, seeds, epoch, runs)
            saved = time.perf_counter()
        if stop.signal and epoch < job.protocol.epochs:
            raise interruption.Interrupted(stop.signal)
        before, start = epoch, time.perf_counter()
    checkpoints.remove(folder, job, seeds)
    if stop.signal:
        raise interruption.Interrupted(stop.signal)


def file_name(job: Job, seeds: list[int]) -> str:
    """Of trained circuits: the data set, the arm, and the seeds where they are not 0, 1, ...

    Seeds in a row are named by their first alone: the names of a hundred would be too long for a file.
    """
    first, count = seeds[0], len(seeds)
    named = f"_from_seed_{first}" if first else ""
    if seeds != list(range(first, first + count)):
        named = f"_seeds_{'_'.join(map(str, seeds))}"
    return f"{job.stem}{named}.msgpack"


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
