"""Searching a rule's numbers: spaces, trials, and many settings × seeds at once in one compiled program.

A trial is a dict of numbers named as the experiments' flags are (rate_w, rate_v_bar, decay, scale_w, ...).
"""

from collections.abc import Iterable

import jax
import numpy as np
from scipy.stats import qmc

from sam_jax import inputs, memory, training
from sam_jax.circuit import PATHWAYS, Synapses
from sam_jax.mirror import Mirroring
from sam_jax.rules import RULES

# (low, high) of each number, tried log-uniformly; a name with "/" is a ratio to the number after it.
SPACES = {
    "sgd": {"rate_w": (0.05, 0.8), "decay/rate_w": (1e-5, 3e-3), "scale_w": (0.4, 1.2)},
    "fa": {"rate_w": (0.01, 0.3), "decay/rate_w": (1e-5, 3e-3), "scale_w": (0.4, 1.2), "scale_w_bar": (0.1, 1.0)},
    "wm": {
        "rate_w": (0.02, 0.5),
        "decay/rate_w": (1e-5, 3e-3),
        "scale_w": (0.4, 1.2),
        "mirror_decay": (0.003, 0.03),
        "mirror_rate/mirror_decay": (0.7, 3.0),  # 2 makes W̄ as large as Wᵀ under relu
    },
    "kp": {"rate_w": (0.05, 0.8), "decay/rate_w": (1e-4, 1e-2), "scale_w": (0.4, 1.2), "scale_w_bar": (0.1, 1.0)},
    "sam": {
        "rate_w": (0.15, 0.6),
        "rate_w_bar/rate_w": (0.5, 1.5),
        "rate_v/rate_w": (0.1, 0.6),
        "rate_v_bar/rate_w": (0.1, 2.0),
        "decay/rate_w": (1e-4, 1e-3),
        "scale_w": (0.4, 0.8),
        "scale_w_bar": (0.4, 0.8),
        "scale_v": (0.1, 0.8),
        "scale_v_bar": (0.15, 0.8),
    },
}


def sample(rule: str, trials: int, seed: int = 0) -> list[dict[str, float]]:
    """So many trials from the rule's space: a scrambled Sobol sequence, log-uniform, four significant digits."""
    space = SPACES[rule]
    low, high = np.log(np.array(list(space.values()))).T
    points = qmc.Sobol(len(space), rng=np.random.default_rng(seed)).random_base2(int(np.ceil(np.log2(trials))))
    return [numbers_of(dict(zip(space, point, strict=True))) for point in np.exp(low + (high - low) * points[:trials])]


def numbers_of(point: dict[str, float]) -> dict[str, float]:
    """A point of a space with its ratios multiplied out."""
    numbers = {name: value for name, value in point.items() if "/" not in name}
    for name, value in point.items():
        if "/" in name:
            name, base = name.split("/")
            numbers[name] = value * numbers[base]
    return {name: float(f"{value:.4g}") for name, value in numbers.items()}


def scaled(numbers: dict[str, float], factor: float) -> dict[str, float]:
    """Rates and decay times a factor, scales and mirroring as they are: the paper's overall factor of a task."""
    return {
        name: float(f"{value * factor:.4g}") if name.startswith(("rate_", "decay")) else value
        for name, value in numbers.items()
    }


def settings_of(rule: str, numbers: dict[str, float]) -> training.Settings:
    """The rule's settings with the trial's numbers in their place; Kolen-Pollack's W̄ learns at W's rate."""
    row = RULES[rule]
    mirroring = row.mirroring or Mirroring()
    rates = Synapses(*(numbers.get(f"rate_{p}", d) for p, d in zip(PATHWAYS, row.rates, strict=True)))
    if row.rates.w_bar == row.rates.w and "rate_w_bar" not in numbers:
        rates = rates._replace(w_bar=rates.w)
    return training.Settings(
        rates,
        numbers.get("decay", row.decay),
        Synapses(*(numbers.get(f"scale_{p}", d) for p, d in zip(PATHWAYS, row.scales, strict=True))),
        Mirroring(*(numbers.get(f"mirror_{k}", getattr(mirroring, k)) for k in Mirroring._fields)),
    )


def trials_at_once(
    protocol: training.Protocol, settings: list[training.Settings], data: inputs.Data, seeds: list[int]
) -> list[list[dict]]:
    """Trains every setting with every seed in one compiled program, or in as few as the devices' memory allows.

    Returns, for each setting and seed, the last epoch's accuracy on every split of `data` (`val_accuracy`, ...)
    and `diverged`; a diverged run has accuracy None.
    """
    images = sum(split.images.nbytes for split in data.splits.values())
    needed = memory.need(protocol.circuit, protocol.batch_size, images)
    fit = memory.at_once(needed, len(settings) * len(seeds), memory.free()) * jax.local_device_count()
    if len(settings) > (most := max(1, fit // len(seeds))):
        first = trials_at_once(protocol, settings[:most], data, seeds)
        return first + trials_at_once(protocol, settings[most:], data, seeds)
    each = jax.tree.map(lambda *leaves: np.repeat(np.array(leaves, float), len(seeds)), *settings)
    *_, (_, runs, metrics) = training.train(protocol, each, data, list(seeds) * len(settings))
    diverged, metrics = jax.device_get((runs.diverged, metrics))
    results = [
        {"diverged": bool(lost)}
        | {f"{split}_accuracy": None if lost else float(metrics[split].accuracy[i]) for split in metrics}
        for i, lost in enumerate(diverged)
    ]
    return [results[i : i + len(seeds)] for i in range(0, len(results), len(seeds))]


def score(results: Iterable[dict], chance: float) -> float:
    """Mean validation accuracy over a trial's seeds, a diverged one counting as chance."""
    return float(np.mean([chance if r["diverged"] else r["val_accuracy"] for r in results]))


def survivors(scores: list[float], keep: int) -> list[int]:
    """The places of the best so many, best first; ties go to the earlier trial."""
    return sorted(range(len(scores)), key=lambda i: -scores[i])[:keep]
