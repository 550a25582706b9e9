"""What the rows say of a claim about two arms: an outcome, and the words for it."""

from typing import NamedTuple

from sam_jax.lab import statistics
from sam_jax.lab.results import Results


class Effect(NamedTuple):
    """A difference that a verdict rests on, for those who draw it; `ours` has it in words."""

    name: str
    paired: statistics.Paired
    unit: str = "points"

    @property
    def words(self) -> str:
        return f"{self.name}: {statistics.describe(self.paired, self.unit)}"


class Finding(NamedTuple):
    """What was found, in words, and whether the claim `holds`, `does not hold` or is `undecided`."""

    ours: str
    outcome: str
    effects: tuple[Effect, ...] = ()


def together(outcomes: list[str]) -> str:
    """One outcome for several: a single failure decides, and all must hold; nothing compared decides nothing."""
    for outcome in ("does not hold", "undecided"):
        if outcome in outcomes:
            return outcome
    return "holds" if outcomes else "undecided"


def above(
    results: Results, dataset: str, pairs: list[tuple[str, str]], margin: float = 0.0, lost_is_chance: bool = False
) -> Finding:
    """Whether the first arm of each pair is above the second by `margin` points on the test split.

    It holds where the whole 95 % interval of the paired difference is above the margin, and does
    not where the whole interval is below; a negative margin asks for no more than being as good.
    What becomes of a seed that diverged: it is left out, and the arm that lost it is not found above; or,
    with `lost_is_chance`, it counts as chance, so that an arm that always diverges is below, and two arms
    that always diverge decide nothing.
    """
    found = [_pair(results, dataset, *pair, margin, lost_is_chance) for pair in pairs]
    ours = [finding.ours for finding in found]
    if lost_is_chance and any(results.lost(dataset, arm) for pair in pairs for arm in pair):
        ours.append(f"diverged runs count as chance, {results.chance(dataset):.2f} %")
    effects = tuple(effect for finding in found for effect in finding.effects)
    return Finding("; ".join(ours), together([finding.outcome for finding in found]), effects)


def _pair(results, dataset, a, b, margin, lost_is_chance) -> Finding:
    first, second = results.final(dataset, a), results.final(dataset, b)
    names = f"{results.title(a)} − {results.title(b)}"
    if not lost_is_chance:
        paired = statistics.paired(first, second)
        outcome = statistics.outcome(paired.low, paired.high, margin)
        if outcome == "holds" and None in first.values():  # what diverges is not shown to be above
            outcome = "undecided"
        return _finding(Effect(names, paired), outcome)
    alive = any(value is not None for value in (*first.values(), *second.values()))
    chance = results.chance(dataset)
    paired = statistics.paired(at_chance(first, chance), at_chance(second, chance))
    outcome = statistics.outcome(paired.low, paired.high, margin) if alive else "undecided"
    names = f"{results.title(a)}{results.lost(dataset, a)} − {results.title(b)}{results.lost(dataset, b)}"
    return _finding(Effect(names, paired), outcome)


def _finding(effect: Effect, outcome: str) -> Finding:
    return Finding(effect.words, outcome, (effect,))


def at_chance(values: dict[int, float | None], chance: float) -> dict[int, float]:
    """The values by seed, one that diverged at chance."""
    return {seed: chance if value is None else value for seed, value in values.items()}


def alike(results: Results, dataset: str, a: str, b: str, margin: float) -> Finding:
    """Whether two arms are within `margin` points of each other on the test split.

    It holds where the whole 95 % interval of the paired difference lies within ± margin, and does not
    where the whole interval lies outside; a diverged run decides nothing.
    """
    paired = results.difference(dataset, a, b)
    outcome = "undecided"
    if paired.low is not None and paired.high is not None and not paired.lost:
        if -margin <= paired.low and paired.high <= margin:
            outcome = "holds"
        elif paired.low > margin or paired.high < -margin:
            outcome = "does not hold"
    effect = Effect(f"{results.title(a)} − {results.title(b)}", paired)
    return Finding(f"{effect.words}; alike is within ±{margin:g}", outcome, (effect,))


def largest_difference(results: Results, dataset: str, a: str, b: str) -> float | None:
    """The largest |a - b| of train loss and test accuracy over all seeds and epochs; None where they do not pair.

    A pair of which one member alone has diverged is infinitely far apart.
    """
    measured = [
        {
            (row["seed"], row["epoch"], column): row[column]
            for row in results.of(dataset, arm)
            for column in ("train_loss", "test_accuracy")
        }
        for arm in (a, b)
    ]
    if not measured[0] or measured[0].keys() != measured[1].keys():
        return None
    pairs = [(value, measured[1][key]) for key, value in measured[0].items()]
    return max(0.0 if x == y else float("inf") if None in (x, y) else abs(x - y) for x, y in pairs)
