"""Many settings of one rule at once, and what each is worth on the validation split."""

import jax
import numpy as np

from sam_jax import footprint, inputs, losses, training
from sam_jax.lab.arms import Job


def for_choosing(data: inputs.Data) -> inputs.Data:
    """The splits that a choice of numbers may see: the training images and the validation images."""
    return data._replace(splits={split: data.splits[split] for split in ("train", "val")})


def trials_at_once(job: Job, trials: list[dict[str, float]], data: inputs.Data, seeds: list[int]) -> list[list[dict]]:
    """Trains every trial with every seed in one compiled program, or in as few as the devices' memory allows.

    Returns, for each trial and seed, the last epoch's measures on every split of `data` (`val_accuracy`, ...,
    `val_auc` where the job has it) and `diverged`; a diverged run has None for each.
    """
    fit = footprint.at_once(job.need()._replace(shared=0), len(trials) * len(seeds), footprint.free())
    most = max(1, fit * jax.local_device_count() // len(seeds))
    if len(trials) > most:
        return trials_at_once(job, trials[:most], data, seeds) + trials_at_once(job, trials[most:], data, seeds)
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
    percents = [chance if row["diverged"] else 100 * row[f"val_{measure}"] for row in rows]
    return float(np.mean(np.nan_to_num(percents, nan=chance)))


def measured(metrics: dict, place: int, lost: bool, labels: dict) -> dict:
    """A run's numbers on every split, by column; None where it diverged. AUCs of the splits whose labels are given."""
    found: dict = {}
    for split, values in metrics.items():
        found[f"{split}_loss"] = None if lost else float(values.loss[place])
        found[f"{split}_accuracy"] = None if lost else float(values.accuracy[place])
        if split in labels:
            found[f"{split}_auc"] = None if lost else losses.macro_auc(values.scores[place], labels[split])
    return found
