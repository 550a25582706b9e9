"""Whether the paper's claims hold in our runs: `verdicts.json` in a run's folder, written by its experiment."""

import collections
import json
import os
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

from sam_jax.experiments.paper import CLAIMS

from sam_jax.lab import records
from sam_jax.lab.compare import Effect
from sam_jax.lab.statistics import Paired

OUTCOMES = ("holds", "does not hold", "undecided")
NOT_RUN = "not run here"
NO_NUMBERS = "no recipe enters it"
FILE = "verdicts.json"
TEXTS = ("claim", "setting", "paper", "ours", "outcome")


class Verdict(NamedTuple):
    """What one run says about one claim."""

    claim: str  # a key of paper.CLAIMS
    setting: str  # where it was tried: "cifar10, 30 epochs, 5 seeds"
    paper: str  # what the paper says or prints
    ours: str  # our number with its interval and its test
    outcome: str  # one of OUTCOMES
    effects: tuple[Effect, ...] = ()  # the differences in `ours`, as numbers


def write(folder: str | os.PathLike, verdicts: Iterable[Verdict]) -> None:
    """Writes the verdicts into a run's folder in place of those it had, whole or not at all.

    Raises:
      ValueError: a claim or an outcome is unknown, or a text is missing; nothing is written.
    """
    verdicts = list(verdicts)
    for verdict in verdicts:
        _check(verdict)
    entries = [verdict._asdict() | {"effects": list(map(_entry, verdict.effects))} for verdict in verdicts]
    text = json.dumps(entries, indent=1, ensure_ascii=False)
    records.replace_whole(pathlib.Path(folder) / FILE, text + "\n")


def read(folder: str | os.PathLike) -> list[Verdict]:
    """The verdicts of a run's folder, in the order they were written; none where the experiment gave none.

    Raises:
      ValueError: the file holds something else.
    """
    path = pathlib.Path(folder) / FILE
    if not path.exists():
        return []
    try:
        verdicts = [_verdict(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
        for verdict in verdicts:
            _check(verdict)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no verdicts: {error}") from None
    return verdicts


def markdown(folders: Iterable[str | os.PathLike]) -> str:
    """A table of all of the paper's claims: how many verdicts on each hold at our settings, and at the authors' recipe.

    A run's manifest says which of the two it is; the last column names the runs.
    """
    lines = ["| claim of the paper | at our settings | at the authors' recipe | runs |", "|---|---|---|---|"]
    found: dict[str, tuple[list[str], list[str], dict[str, None]]] = {claim: ([], [], {}) for claim in CLAIMS}
    for folder in map(pathlib.Path, folders):
        for verdict in read(folder):
            found[verdict.claim][_at_recipe(folder)].append(verdict.outcome)
            found[verdict.claim][2][folder.name] = None
    for claim, (ours, theirs, names) in found.items():
        at_recipe = _counted(theirs) if theirs or CLAIMS[claim].of_numbers else NO_NUMBERS
        lines.append(f"| {CLAIMS[claim].title} | {_counted(ours)} | {at_recipe} | {', '.join(names)} |")
    return "\n".join(lines) + "\n"


def _at_recipe(folder: pathlib.Path) -> bool:
    manifest = folder / records.MANIFEST
    return manifest.is_file() and bool(json.loads(manifest.read_text(encoding="utf-8")).get("flags", {}).get("recipe"))


def _counted(outcomes: list[str]) -> str:
    counts = collections.Counter(outcomes)
    if len(counts) < 2:
        return outcomes[0] if outcomes else NOT_RUN
    return ", ".join(f"{one} ({counts[one]} of {len(outcomes)})" for one in OUTCOMES if counts[one])


def _verdict(effects=(), **texts):
    return Verdict(**texts, effects=tuple(_effect(**effect) for effect in effects))


def _entry(effect):
    return {"name": effect.name, "unit": effect.unit, **effect.paired._asdict()}


def _effect(name, unit, **numbers):
    return Effect(name, Paired(**numbers), unit)


def _check(verdict):
    if verdict.claim not in CLAIMS:
        raise ValueError(f"claim {verdict.claim!r} is unknown, expected one of {', '.join(CLAIMS)}")
    if verdict.outcome not in OUTCOMES:
        known = ", ".join(OUTCOMES)
        raise ValueError(f"the outcome of {verdict.claim} is {verdict.outcome!r}, expected one of {known}")
    for field, text in zip(TEXTS, verdict, strict=False):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{field} of the verdict on {verdict.claim} is {text!r}, expected some words")
