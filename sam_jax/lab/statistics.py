"""How sure a number over a few seeds is: t intervals, and paired t-tests between rules that share seeds.

A seed draws W and the order of the examples alike for every rule, so rules are compared seed by seed.
A value that is None, or not finite, is a run that diverged: it is left out and counted as lost.
"""

import math
from collections.abc import Iterable, Mapping
from statistics import mean as exact_mean  # in fractions: equal values have their own value as mean, and no sd
from statistics import stdev
from typing import Any, NamedTuple, TypeGuard

from scipy import special  # Student's t alone: scipy.stats takes a second to import

LEVEL = 0.95  # of every interval, two-sided


class Estimate(NamedTuple):
    """A mean over runs.

    Attributes:
      mean: None where no run is left.
      low, high: the 95 % t interval of the mean; None below two runs.
      sd: the sample standard deviation; None below two runs.
      n, lost: the runs that are in the mean; those that diverged.
    """

    mean: float | None
    low: float | None
    high: float | None
    sd: float | None
    n: int
    lost: int


class Paired(NamedTuple):
    """A difference a - b over seeds that both have.

    Attributes:
      difference: the mean of a - b; None where no pair is left.
      low, high: its 95 % t interval; None below two pairs.
      p: of the test, against no difference; None below two pairs.
      n, lost: the pairs that are in the mean; the seeds of which a member diverged or is missing.
      test: what p is.
    """

    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    lost: int
    test: str = "paired t-test, two-sided"


def estimate(values: Iterable[float | None]) -> Estimate:
    """The mean of the runs that did not diverge, with its 95 % t interval; in the unit of `values`."""
    values = list(values)
    kept = [float(value) for value in values if _finite(value)]
    lost = len(values) - len(kept)
    if len(kept) < 2:
        return Estimate(kept[0] if kept else None, None, None, None, len(kept), lost)
    mean, sd, half = _t_interval(kept)
    return Estimate(mean, mean - half, mean + half, sd, len(kept), lost)


def paired(a: Mapping[int, float | None], b: Mapping[int, float | None]) -> Paired:
    """The mean of a - b, each a value for each seed, with its 95 % t interval and a paired t-test.

    Where all differences are the same number, the interval is that number, and p is 1 if it is 0, else 0.
    """
    seeds = a.keys() | b.keys()
    pairs = ((a.get(seed), b.get(seed)) for seed in sorted(seeds))
    kept = [float(x) - float(y) for x, y in pairs if _finite(x) and _finite(y)]
    n, lost = len(kept), len(seeds) - len(kept)
    if n < 2:
        return Paired(kept[0] if kept else None, None, None, None, n, lost)
    mean, sd, half = _t_interval(kept)
    if sd == 0:
        return Paired(mean, mean, mean, 1.0 if mean == 0 else 0.0, n, lost)
    p = 2 * special.stdtr(n - 1, -abs(mean) / (sd / math.sqrt(n)))
    return Paired(mean, mean - half, mean + half, float(p), n, lost)


def describe(paired: Paired, unit: str = "points") -> str:
    """`-1.34 points [-1.80, -0.88], p = 0.0012, paired t-test, n = 5`, and `, 1 of 6 pairs lost` where one is."""
    lost = f", {paired.lost} of {paired.n + paired.lost} pairs lost" if paired.lost else ""
    if paired.difference is None:
        return f"no pairs{lost}"
    text = f"{paired.difference:+z.2f} {unit}"
    if paired.p is not None:
        p = "p < 0.0001" if paired.p < 1e-4 else f"p = {paired.p:.4f}"
        text += f" [{paired.low:+z.2f}, {paired.high:+z.2f}], {p}, {paired.test.split(',')[0]}"
    return f"{text}, n = {paired.n}{lost}"


def interval(estimate: Estimate) -> str:
    """`51.85 [51.21, 52.49]`; the mean alone for one run; a dash where every run diverged."""
    if estimate.mean is None:
        return "–"
    bounds = "" if estimate.low is None else f" [{estimate.low:z.2f}, {estimate.high:z.2f}]"
    return f"{estimate.mean:z.2f}{bounds}"


def outcome(low: float | None, high: float | None, threshold: float = 0.0) -> str:
    """What an interval says of "the difference is above the threshold": holds, does not hold, or undecided.

    Two arms that are equal seed for seed are not above each other, and not below.
    """
    if low is None or high is None:
        return "undecided"
    return "holds" if low > threshold else "does not hold" if high < threshold else "undecided"


def _finite(value: Any) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _t_interval(values):
    """Mean, sample sd and half the width of the interval, of two values or more."""
    sd = stdev(values)
    return (
        exact_mean(values),
        sd,
        float(special.stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * sd / math.sqrt(len(values)),
    )
