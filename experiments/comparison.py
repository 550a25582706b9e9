"""A rule's numbers for an arm of another rule, and what `present.above` does not say of two arms."""

import options
import panels
import present

from sam_jax import statistics, tables
from sam_jax.circuit import PATHWAYS
from sam_jax.verdicts import Verdict


def numbers(rule: str, dataset: str, divide: dict[str, float] | None = None) -> dict[str, float]:
    """The rule's numbers as an arm's, with the rates of some pathways, and `decay`, divided.

    Mirroring's numbers are left out. An arm with another rule then runs with the numbers of this one.
    """
    settings, divide = options.make_settings(rule, dataset), divide or {}
    factor = options.FLAGS.rate_factor or 1  # it will multiply an arm's numbers again
    of_decay = 1 if options.FLAGS.decay_times_rate else factor
    return {
        **{f"rate_{p}": r / factor / divide.get(p, 1) for p, r in zip(PATHWAYS, settings.rates, strict=True)},
        **{f"scale_{p}": s for p, s in zip(PATHWAYS, settings.scales, strict=True)},
        "decay": settings.decay / of_decay / divide.get("decay", 1),
    }


def above(claim, manifest, rows, dataset: str, says: str, pairs: list[tuple[str, str]], margin: float = 0.0) -> Verdict:
    """As `present.above`, but a diverged run counts as chance, so that an arm that always diverges is below."""
    chance = manifest["data"][dataset]["trivial_test"]
    outcomes, ours = [], []

    def percent(arm):
        return {seed: chance if value is None else value for seed, value in tables.final(rows, dataset, arm).items()}

    def named(arm):
        return tables.arm_title(arm) + panels.lost(rows, dataset, arm)

    for a, b in pairs:
        paired = statistics.paired(percent(a), percent(b))
        alive = any(v is not None for arm in (a, b) for v in tables.final(rows, dataset, arm).values())
        outcomes.append(statistics.outcome(paired.low, paired.high, margin) if alive else "undecided")
        ours.append(f"{named(a)} − {named(b)}: {statistics.describe(paired)}")
    if any(panels.lost(rows, dataset, arm) for pair in pairs for arm in pair):
        ours.append(f"diverged runs count as chance, {chance:.2f} %")
    return Verdict(claim, present.setting(manifest, rows, dataset), says, "; ".join(ours), present.together(outcomes))


def alike(claim, manifest, rows, dataset: str, says: str, a: str, b: str, margin: float) -> Verdict:
    """Whether two arms' test accuracies are within `margin` points of each other.

    It holds where the whole 95 % interval of the paired difference lies within ± margin, and does not
    where the whole interval lies outside; a diverged run decides nothing.
    """
    paired = tables.difference(rows, dataset, a, b)
    outcome = "undecided"
    if paired.low is not None and not paired.lost:
        if -margin <= paired.low and paired.high <= margin:
            outcome = "holds"
        elif paired.low > margin or paired.high < -margin:
            outcome = "does not hold"
    ours = f"{tables.arm_title(a)} − {tables.arm_title(b)}: {statistics.describe(paired)}; alike is within ±{margin:g}"
    return Verdict(claim, present.setting(manifest, rows, dataset), says, ours, outcome)


def largest_difference(rows, dataset, a, b):
    """The largest |a - b| of train loss and test accuracy over all seeds and epochs; None where they do not pair.

    A pair of which one member alone has diverged is infinitely far apart.
    """
    measured = [
        {
            (*(row[k] for k in ("seed", "epoch")), column): row[column]
            for row in rows
            if (row["dataset"], row["arm"]) == (dataset, arm)
            for column in ("train_loss", "test_accuracy")
        }
        for arm in (a, b)
    ]
    if not measured[0] or measured[0].keys() != measured[1].keys():
        return None
    pairs = [(value, measured[1][key]) for key, value in measured[0].items()]
    return max(0.0 if x == y else float("inf") if None in (x, y) else abs(x - y) for x, y in pairs)
