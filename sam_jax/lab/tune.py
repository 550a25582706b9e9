"""`--tune`: an overall factor for each rule and data set, as the paper chose one for each task.

Every rule has the same FACTORS, in runs of a third of the epochs with two seeds: the best mean on the validation split
counts, a diverged seed at chance. Long runs stand lower rates than short ones, and five seeds than two, so the best one
is then run for all epochs with all of --seeds, and the next lower ones beside it for as long as that is better. The
test split has no part. What the folder has already is not chosen again, and what an interruption left of the runs in
`tuning.jsonl` is not trained again.
"""

import hashlib
import json
import math
import pathlib

import jax

from sam_jax import inputs
from sam_jax.lab import interruption, processes, records
from sam_jax.lab.arms import Arm, Experiment, Job, facts, settle
from sam_jax.lab.flags import Options
from sam_jax.lab.trials import for_choosing, in_parts, score
from sam_jax.rule import Rule

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SEEDS = 2  # of the short runs


def tune(experiment: Experiment, options: Options, folder: pathlib.Path, loaded: list, rules: list[Rule]) -> dict:
    """What is chosen, by data set and rule: the `factor`, and what chose it.

    `scores` has each factor's score in runs of `epochs` epochs with so many `seeds`, `whole` that of the factors which
    were run for all epochs, with `whole_seeds`.
    """
    manifest = folder / records.MANIFEST
    found: dict[str, dict] = records.read(folder)[0].get("tuned", {}) if manifest.is_file() else {}
    for dataset in loaded:
        known = found.setdefault(dataset.name, {})
        missing = [rule for rule in rules if rule.name not in known]
        if missing:
            data, said = for_choosing(inputs.place(dataset, options.pixels)), facts(options, dataset, experiment, ())
            judged = said["measure"], said["chance"][said["measure"]]
            for rule in missing:
                known[rule.name] = choose(options, folder, dataset, rule, data, judged)
    return found


def choose(options: Options, folder: pathlib.Path, dataset, rule: Rule, data: inputs.Data, judged: tuple) -> dict:
    """A rule's factor on one data set, and what chose it. `judged` is the measure and what chance has of it."""
    given = options.chosen(rule, dataset.name)

    def runs(factors, epochs, seeds):
        """For each factor its rows after so many epochs, one for each seed."""
        warmup = options.warmup_epochs * epochs / options.epochs
        protocol = {"epochs": epochs, "evaluate_every": epochs, "warmup_epochs": warmup}
        job = settle(options, dataset, rule.name, Arm(rule, protocol=protocol))
        trials = [options.scaled(rule, given, options.rate_factor * factor) for factor in factors]
        with jax.default_matmul_precision(options.precision), interruption.asked() as stop:
            return _results(folder, job, trials, data, seeds, records.numerics(options), stop)

    def scored(rows):
        return round(score(rows, *judged), 4)

    few, every = math.ceil(options.epochs / 3), max(SEEDS, options.seeds)
    scores = dict(zip(FACTORS, map(scored, runs(FACTORS, few, SEEDS)), strict=True))
    whole: dict[float, float] = {}
    lost = True  # nothing has held so far
    for factor in FACTORS[FACTORS.index(best(scores)) :: -1]:
        rows = runs([factor], options.epochs, every)[0]
        whole[factor] = scored(rows)
        if best(whole) != factor and not lost:
            break
        lost = any(row["diverged"] for row in rows)
    return {
        "factor": best(whole),
        "epochs": few,
        "seeds": SEEDS,
        "scores": {str(factor): value for factor, value in scores.items()},
        "whole": {str(factor): value for factor, value in whole.items()},
        "whole_seeds": every,
    }


def best(scores: dict[float, float]) -> float:
    """The factor with the best score, the lowest of equals."""
    return max(scores, key=lambda factor: (scores[factor], -factor))


def _results(
    folder, job: Job, trials: list[dict], data: inputs.Data, seeds: int, numerics: dict, stop
) -> list[list[dict]]:
    """Of each trial and seed; what is not in the folder is trained, and kept there as it comes."""
    exactly = {"job": job.describe(), "trials": trials, "seeds": seeds, "numerics": numerics}
    exactly |= {"images": job.dataset.checksums()}
    mark = hashlib.sha256(json.dumps(exactly, sort_keys=True).encode()).hexdigest()
    path, found = folder / records.TUNING, {}
    if path.is_file():
        lines = records.whole_lines(path)
        if processes.first():
            records.replace_whole(path, "".join(lines))  # before more is appended to a line that was cut short
        found = {row["trial"]: row["results"] for row in map(json.loads, lines) if row["of"] == mark}
    missing = [place for place in range(len(trials)) if place not in found]
    for part, results in in_parts(job, [trials[place] for place in missing], data, list(range(seeds)), stop):
        new = {missing[i]: one for i, one in zip(part, results, strict=True)}
        found |= new
        if processes.first():
            records.write_lines(path, [{"of": mark, "trial": place, "results": one} for place, one in new.items()])
    if stop.signal:
        raise interruption.Interrupted(stop.signal)
    return [found[place] for place in range(len(trials))]


def factors_of(tuned: dict) -> dict[tuple[str, str], float]:
    """The factors alone, by (data set, rule)."""
    return {(dataset, rule): one["factor"] for dataset, rules in tuned.items() for rule, one in rules.items()}


def remark(tuned: dict) -> str:
    """What the table says of a data set's factors; nothing where there are none."""
    if not tuned:
        return ""
    one = next(iter(tuned.values()))
    tried = ", ".join(f"{factor:g}" for factor in FACTORS)
    factors = ", ".join(f"{rule} {entry['factor']:g}" for rule, entry in tuned.items())
    seeds = f" of {one['whole_seeds']} seeds" if "whole_seeds" in one else ""  # older folders have those of the short
    then = f", the best and the next lower then in whole runs{seeds}" if "whole" in one else ""
    return (
        f"Rates and decay are times a factor of {tried}, chosen on the validation images "
        f"in runs of {one['epochs']} epochs and {one['seeds']} seeds{then}: {factors}."
    )
