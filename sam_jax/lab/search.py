"""The search for every rule's numbers: equally many trials for each, judged by several seeds on the validation split.

Trials are dicts of numbers by name. A stage trains all of them with all seeds in one compiled program.

1. On the first data set, `--trials` settings of each rule, a Sobol sequence in the rule's space, go through
   successive halving: a rung is a number of epochs on all images, and the best quarter goes on to the next.
2. On every data set, `--factors` multiply what the rule says is scaled, in runs of the first of `--factor_rungs`.
3. Long runs stand lower rates than short ones, so the best factor, and 0.6 and 1.67 times it, train again in
   longer runs, the next of `--factor_rungs`, and so on: the best of the last three is the data set's winner.

Every trial counts by its seeds' mean in the data set's measure, a diverged seed at chance. The test split has no part.
"""

import dataclasses
import math
import pathlib
import time
from collections.abc import Mapping

import jax
import numpy as np

from sam_jax import inputs
from sam_jax.lab import flags, interruption, processes, records
from sam_jax.lab.arms import Arm, Experiment, Job, facts, settle
from sam_jax.lab.flags import Flag, Options
from sam_jax.lab.run import check_memory, check_names, open_folder, progress, tell
from sam_jax.lab.trials import for_choosing, in_parts, score, trying
from sam_jax.rule import Rule

KEEP = 4  # a quarter of a rung's trials goes on
STEPS = (0.6, 1.0, 1.67)  # times the best factor, in the next stage
FLAGS = (
    Flag("trials", 32, "settings tried for each rule on the first data set", lower=2),
    Flag("rungs", ["1", "3"], "epochs of each rung, on all training images", flags.numbers()),
    Flag("factors", ["0.25", "0.42", "0.7", "1.2", "2"], "times the winner's rates", flags.numbers()),
    Flag("factor_rungs", ["6", "12", "20"], "epochs of the runs that compare factors", flags.numbers()),
)
READS = (  # the shared flags that a search reads: the rest is refused
    *("dataset", "rules", "train_images", "seeds", "batch_size", "hidden_widths", "downstream_widths", "activation"),
    *("pixels", "initial", "gated", "last_batch", "loss", "schedule", "decay_times_rate", "data_dir", "out_dir"),
    *("precision", "deterministic", "distributed", "remake"),
)


def sample(rule: Rule, trials: int, seed: int = 0) -> list[dict[str, float]]:
    """So many trials from the rule's space: a scrambled Sobol sequence, log-uniform, four significant digits.

    Raises:
      ValueError: the rule has no space.
    """
    if not rule.space:
        raise ValueError(f"rule {rule.name} has no space to search: expected space={{'rate_w': (0.01, 0.1), ...}}")
    low, high = np.log(np.array(list(rule.space.values()))).T
    from scipy.stats import qmc  # a second's import

    points = qmc.Sobol(len(low), rng=np.random.default_rng(seed)).random_base2(math.ceil(math.log2(trials)))
    points = np.exp(low + (high - low) * points[:trials])
    return [numbers_of(dict(zip(rule.space, point, strict=True))) for point in points]


def numbers_of(point: Mapping[str, float]) -> dict[str, float]:
    """A point of a space with its ratios multiplied out."""
    numbers = {name: value for name, value in point.items() if "/" not in name}
    for ratio, value in point.items():
        if "/" in ratio:
            name, base = ratio.split("/")
            numbers[name] = value * numbers[base]
    return {name: float(f"{value:.4g}") for name, value in numbers.items()}


def scaled(rule: Rule, numbers: Mapping[str, float], factor: float, decay_too: bool = True) -> dict[str, float]:
    """What the rule says is scaled times a factor, the rest as it is: the paper's overall factor of a task.

    The decay is not among it where each rate will scale it: --decay_times_rate.
    """
    chosen = [name for name in rule.scaled if decay_too or not name.startswith("decay")]
    return {name: float(f"{value * factor:.4g}") if name in chosen else value for name, value in numbers.items()}


def survivors(scores: list[float], keep: int) -> list[int]:
    """The places of the best so many, best first; ties go to the earlier trial."""
    return sorted(range(len(scores)), key=lambda i: -scores[i])[:keep]


def stages_of(own) -> dict[str, dict]:
    """The search's stages, for the manifest: a search may go on with more of them."""
    stages = {"ratios": {"trials": own.trials, "epochs": _epochs(own.rungs), "keep": KEEP}}
    for level, epochs in enumerate(_epochs(own.factor_rungs)):
        stages[f"factor {level}"] = {"epochs": epochs, "factors": STEPS if level else list(map(float, own.factors))}
    return stages


def _epochs(texts) -> list[int]:
    for text in texts:
        if not text.isdecimal():
            raise ValueError(f"a rung is {text!r}, expected a number of epochs, as in --rungs=1,3")
    return [int(text) for text in texts]


class Search:
    """The rows of a search's folder, and the stages that are still to be run for a rule on a data set."""

    def __init__(
        self,
        folder: pathlib.Path,
        job: Job,
        data: inputs.Data,
        seeds: int,
        measure: str,
        chance: float,
        stop: interruption.Asked,
    ):
        self.folder, self.job, self.data, self.seeds = folder, job, data, seeds
        self.measure, self.chance, self.stop = measure, chance, stop
        self.rows = records.read(folder)[1]

    def stage(self, stage: str, trials: list[dict], epochs: int) -> list[float]:
        """The scores of the trials after so many epochs, trained unless the folder has them."""
        job = self.job
        key = {"dataset": job.dataset.name, "arm": job.name, "stage": stage}
        held = [self.of(key, place) for place in range(len(trials))]
        for place, numbers in enumerate(trials):
            for row in held[place]:
                if row.get("numbers", numbers) != numbers:
                    raise FileExistsError(
                        f"out_dir {self.folder} holds trial {place} of {job.name} on {job.dataset.name} ({stage}) with "
                        f"other numbers: the rule's space, or the first data set, was another: give another folder"
                    )
        missing = [place for place, rows in enumerate(held) if len(rows) < self.seeds]
        # A share of all of them: what is missing differs between processes of which one is already ahead.
        mine = processes.share(list(range(len(trials))))
        if places := [place for place in missing if place in mine]:
            short = job.protocol._replace(epochs=epochs, evaluate_every=epochs, warmup_epochs=min(2.0, epochs / 3))
            start, seeds = time.perf_counter(), list(range(self.seeds))
            asked = [trials[place] for place in places]
            for part, found in in_parts(job._replace(protocol=short), asked, for_choosing(self.data), seeds, self.stop):
                seconds = round((time.perf_counter() - start) / (len(part) * self.seeds), 4)
                common = {"images": len(job.dataset.train.images), "epochs": epochs, "seconds": seconds}
                rows = [
                    {**key, **common, "trial": places[i], "seed": seed, **result, "numbers": asked[i]}
                    for i, results in zip(part, found, strict=True)
                    for seed, result in enumerate(results)
                ]
                records.append(self.folder, rows, processes.part())
                start = time.perf_counter()
        if missing:
            processes.wait(lambda: self.has(key, len(trials)))
        return [score(self.of(key, place), self.measure, self.chance) for place in range(len(trials))]

    def of(self, key: dict, place: int) -> list[dict]:
        """A trial's rows, one for each seed."""
        return [row for row in self.rows if {**key, "trial": place}.items() <= row.items()]

    def has(self, key: dict, trials: int) -> bool:
        """Whether the rows of so many trials are in the folder, this process's and the others'."""
        self.rows = records.read(self.folder)[1]
        return all(len(self.of(key, place)) >= self.seeds for place in range(trials))

    def ratios(self, own, on_rung) -> dict:
        """Stage 1: the best of the rule's trials after all rungs."""
        trials = sample(self.job.rule, own.trials)
        for level, epochs in enumerate(_epochs(own.rungs)):
            scores = self.stage(f"rung {level}", trials, epochs)
            trials = [trials[place] for place in survivors(scores, math.ceil(len(trials) / KEEP))]
            on_rung()
        return trials[0]

    def factors(self, own, winner: dict) -> None:
        """Stages 2 and 3: the winner with several overall factors for this data set, in ever longer runs."""
        factors = [float(factor) for factor in own.factors]
        for level, epochs in enumerate(_epochs(own.factor_rungs)):
            decay_too = not self.job.protocol.decay_times_rate
            trials = [scaled(self.job.rule, winner, factor, decay_too) for factor in factors]
            best = survivors(self.stage(f"factor {level}", trials, epochs), 1)[0]
            factors = [factors[best] * step for step in STEPS]


def order(row: dict, datasets: list[str], rules: list[str]) -> tuple:
    """The order of a search's rows: data set, rule, stage (rungs, then factors), trial, seed."""
    kind, level = row["stage"].split()
    places = datasets.index(row["dataset"]), rules.index(row["arm"])
    return *places, kind == "factor", int(level), row["trial"], row["seed"]


def run(experiment: Experiment, options: Options) -> pathlib.Path:
    """Searches every rule on every data set; returns the folder."""
    with flags.one_line_errors(f"{experiment.name}.py"):
        folder, own = options.folder(), options.own
        options = dataclasses.replace(options, configs=False)  # where its own winners may lie
        stages = stages_of(own) | {"seeds": {"of each trial": options.seeds}}
        records.check(folder, "search", {}, experiment.name)
        loaded = [flags.load(options, name) for name in options.dataset]
        jobs, tried = {}, []
        for dataset in loaded:
            for rule in options.rules:
                trial = sample(rule, 2)[0]  # a rule without a space is refused before anything starts
                protocol = {"warmup_epochs": 0.0, "epochs": 0, "evaluate_every": 0}  # each stage has its own
                job = settle(options, dataset, rule.name, Arm(rule, protocol=protocol))
                jobs[dataset.name, rule.name] = job
                tried.append(trying(job, trial))
        check_names(list(jobs.values()))
        needs = check_memory(tried)
        open_folder(folder, experiment, options, "search", list(jobs.values()), stages=stages)
    tell(needs)
    with jax.default_matmul_precision(options.precision), interruption.asked() as stop, progress() as bar:
        task = bar.add_task("", total=len(options.rules) * (len(own.rungs) + len(loaded)))
        winners: dict[str, dict] = {}
        for dataset in loaded:
            data, known = inputs.place(dataset, options.pixels), facts(options, dataset, experiment, ())
            judged = known["measure"], known["chance"][known["measure"]]
            for rule in options.rules:
                bar.update(task, description=f"{dataset.name}: {rule.title}")
                search = Search(folder, jobs[dataset.name, rule.name], data, options.seeds, *judged, stop)
                if rule.name not in winners:
                    winners[rule.name] = search.ratios(own, lambda: bar.advance(task))
                search.factors(own, winners[rule.name])
                bar.advance(task)
    if processes.first():
        cells = records.read(folder)[0]["cells"]
        names = list(dict.fromkeys(arm for arms in cells.values() for arm in arms))
        records.merge(folder, lambda row: order(row, list(cells), names))
    return folder
