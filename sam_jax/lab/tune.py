"""`--tune`: an overall factor for each rule and data set, as the paper chose one for each task.

Every rule has the same FACTORS, in runs of a third of the epochs with two seeds; the best mean on the validation split
counts, a diverged seed at chance. The test split has no part. What the folder has already is not chosen again, and
what an interruption left of the runs in `tuning.jsonl` is not trained again.
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
SEEDS = 2


def tune(experiment: Experiment, options: Options, folder: pathlib.Path, loaded: list, rules: list[Rule]) -> dict:
    """`found[data set][rule]`: the `factor`, the `epochs` and `seeds` that chose it, and each factor's `scores`."""
    manifest = folder / records.MANIFEST
    found: dict[str, dict] = records.read(folder)[0].get("tuned", {}) if manifest.is_file() else {}
    epochs = math.ceil(options.epochs / 3)
    for dataset in loaded:
        known = found.setdefault(dataset.name, {})
        missing = [rule for rule in rules if rule.name not in known]
        if not missing:
            continue
        data = for_choosing(inputs.place(dataset, options.pixels))
        said = facts(options, dataset, experiment, ())
        measure = said["measure"]
        for rule in missing:
            protocol = {
                "epochs": epochs,
                "evaluate_every": epochs,
                "warmup_epochs": min(options.warmup_epochs, epochs / 3),
            }
            job = settle(options, dataset, rule.name, Arm(rule, protocol=protocol))
            given = options.chosen(rule, dataset.name)
            trials = [options.scaled(rule, given, options.rate_factor * factor) for factor in FACTORS]
            with jax.default_matmul_precision(options.precision), interruption.asked() as stop:
                results = _results(folder, job, trials, data, records.numerics(options), stop)
            scores = [round(score(rows, measure, said["chance"][measure]), 4) for rows in results]
            known[rule.name] = {
                "factor": FACTORS[scores.index(max(scores))],
                "epochs": epochs,
                "seeds": SEEDS,
                "scores": dict(zip(map(str, FACTORS), scores, strict=True)),
            }
    return found


def _results(folder, job: Job, trials: list[dict], data: inputs.Data, numerics: dict, stop) -> list[list[dict]]:
    """Of each trial and seed; what is not in the folder is trained, and kept there as it comes."""
    exactly = {"job": job.describe(), "trials": trials, "images": job.dataset.checksums(), "numerics": numerics}
    mark = hashlib.sha256(json.dumps(exactly, sort_keys=True).encode()).hexdigest()
    path, found = folder / records.TUNING, {}
    if path.is_file():
        lines = records.whole_lines(path)
        if processes.first():
            records.replace_whole(path, "".join(lines))  # before more is appended to a line that was cut short
        found = {row["trial"]: row["results"] for row in map(json.loads, lines) if row["of"] == mark}
    missing = [place for place in range(len(trials)) if place not in found]
    for part, results in in_parts(job, [trials[place] for place in missing], data, list(range(SEEDS)), stop):
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
    return (
        f"Rates and decay are times a factor of {tried}, chosen on the validation images "
        f"in runs of {one['epochs']} epochs and {one['seeds']} seeds: {factors}."
    )
