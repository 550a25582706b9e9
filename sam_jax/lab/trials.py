"""Many settings of one rule at once, and what each is worth on the validation split."""

from collections.abc import Iterator

import jax
import numpy as np

from sam_jax import footprint, inputs, losses, training
from sam_jax.lab import interruption
from sam_jax.lab.arms import Job


def for_choosing(data: inputs.Data) -> inputs.Data:
    """The splits that a choice of numbers may see: the training images and the validation images."""
    return data._replace(splits={split: data.splits[split] for split in ("train", "val")})


def trying(job: Job, trial: dict[str, float]) -> Job:
    """The job with a trial's numbers: of these, momentum takes memory."""
    return job._replace(numbers=job.rule.settle(trial))


def parts(job: Job, trials: int, seeds: int) -> list[range]:
    """The places of so many trials, in as few programs as the devices' memory allows.

    On a CPU, which trains its runs one after the other, as many as give each device one: what is done can be kept.
    """
    fit, devices = 1, jax.local_device_count()
    if jax.default_backend() != "cpu":
        fit = footprint.at_once(job.need()._replace(shared=0), trials * seeds, footprint.free())
    most = max(1, fit * devices // seeds)
    return [range(first, min(first + most, trials)) for first in range(0, trials, most)]


def in_parts(
    job: Job, trials: list[dict[str, float]], data: inputs.Data, seeds: list[int], stop: interruption.Asked
) -> Iterator[tuple[range, list[list[dict]]]]:
    """`trials_at_once`, part by part: (the places, their results) as they come.

    Raises:
      Interrupted: a signal has asked to stop, and parts are missing.
    """
    largest = trying(job, trials[0]) if trials else job
    for places in parts(largest, len(trials), len(seeds)):
        if stop.signal:
            raise interruption.Interrupted(stop.signal)
        yield places, trials_at_once(job, [trials[place] for place in places], data, seeds)


def trials_at_once(job: Job, trials: list[dict[str, float]], data: inputs.Data, seeds: list[int]) -> list[list[dict]]:
    """Trains every trial with every seed in one compiled program.

    Returns, for each trial and seed, the last epoch's measures on every split of `data` (`val_accuracy`, ...,
    `val_auc` where the job has it) and `diverged`; a diverged run has None for each.
    """
    settled = [job.rule.settle(trial) for trial in trials]
    each = {name: np.repeat(np.array([one[name] for one in settled], float), len(seeds)) for name in settled[0]}
    *_, (_, runs, metrics) = training.train(job.protocol, each, data, list(seeds) * len(trials))
    diverged, metrics = jax.device_get((runs.diverged, metrics))
    labels = {split: np.asarray(data.splits[split].labels) for split in metrics}
    found = []
    for i, lost in enumerate(diverged):
        numbers = measured(metrics, i, bool(lost), labels if job.protocol.auc else {})
        one = {name: value for name, value in numbers.items() if not name.endswith("_loss")} | {"diverged": bool(lost)}
        found.append(one)
    return [found[i : i + len(seeds)] for i in range(0, len(found), len(seeds))]


def score(rows: list[dict], measure: str, chance: float) -> float:
    """A trial's mean percent of the measure on the validation split over its seeds.

    At chance stand a diverged one, and an AUC that is undefined there.
    """
    values = [None if row["diverged"] else row[f"val_{measure}"] for row in rows]  # None is what a NaN is as JSON
    percents = [chance if value is None or np.isnan(value) else 100 * value for value in values]
    return float(np.mean(percents))


def measured(metrics: dict, place: int, lost: bool, labels: dict) -> dict:
    """A run's numbers on every split, by column; None where it diverged. AUCs of the splits whose labels are given."""
    found: dict = {}
    for split, values in metrics.items():
        found[f"{split}_loss"] = None if lost else float(values.loss[place])
        found[f"{split}_accuracy"] = None if lost else float(values.accuracy[place])
        if split in labels:
            found[f"{split}_auc"] = None if lost else losses.macro_auc(values.scores[place], labels[split])
    return found
