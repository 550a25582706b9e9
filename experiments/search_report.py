"""What a search leaves: flagfiles of the winners, the protocol and budget in words, and the stability map."""

import collections
import pathlib

import numpy as np
from rich.console import Console

from sam_jax import RULES, records, sweep, tables

STAGES = "factor"  # the last stage; those before it are `rung 0`, `rung 1`, ...


def by_trial(rows: list[dict]) -> dict[tuple, list[dict]]:
    """The rows of each (data set, rule, stage, trial), in order."""
    groups = collections.defaultdict(list)
    for row in rows:
        groups[row["dataset"], row["rule"], row["stage"], row["trial"]].append(row)
    return dict(groups)


def entries(manifest: dict, rows: list[dict]) -> list[dict]:
    """A summary of each trial: its score, its seeds' accuracies, how many diverged, and its numbers."""
    found = []
    for (dataset, rule, stage, trial), group in by_trial(rows).items():
        chance = 1 / manifest["data"][dataset]["classes"]
        alive = [100 * row["val_accuracy"] for row in group if not row["diverged"]]
        found.append(
            {
                **{"dataset": dataset, "rule": rule, "stage": stage, "trial": trial},
                "score": 100 * sweep.score(group, chance),
                "alive": alive,
                "diverged": sum(row["diverged"] for row in group),
                "seeds": len(group),
                "seconds": sum(row["seconds"] for row in group),
                **{name: group[0][name] for name in ("images", "epochs", "numbers")},
            }
        )
    return found


def winners(found: list[dict]) -> dict[tuple[str, str], dict]:
    """The best trial of the factor stage for each (data set, rule); the first of equals."""
    best = {}
    for entry in found:
        cell = entry["dataset"], entry["rule"]
        if entry["stage"] == "factor" and (cell not in best or entry["score"] > best[cell]["score"]):
            best[cell] = entry
    return best


def flagfile(entry: dict, manifest: dict, seconds: float) -> str:
    """The winner's numbers as a flagfile, with what is expected of it as comments."""
    sd = f" ± {np.std(entry['alive'], ddof=1):.2f}" if len(entry["alive"]) > 1 else ""
    lines = [
        f"# {RULES[entry['rule']].title} on {entry['dataset']}, chosen on the validation split by",
        f"# {manifest['command']}",
        f"# Expected: {entry['score']:.2f}{sd} % of the validation images after {entry['epochs']} epochs on "
        f"{entry['images']:,} images ({entry['seeds']} seeds, {entry['diverged']} diverged).",
        f"# The search of this rule on this data set took {tables.clock(seconds)} {tables.about(manifest)}.",
    ]
    return "\n".join(lines + [f"--{name}={value:g}" for name, value in entry["numbers"].items()]) + "\n"


def make(folder: pathlib.Path) -> None:
    """Writes configs/, search.md and stability.png from the rows, and prints the winners."""
    manifest, rows = records.read(folder)
    found = entries(manifest, rows)
    seconds = collections.Counter()
    for entry in found:
        seconds[entry["dataset"], entry["rule"]] += entry["seconds"]
    best = winners(found)
    (folder / "configs").mkdir(exist_ok=True)
    for (dataset, rule), entry in best.items():
        text = flagfile(entry, manifest, seconds[dataset, rule])
        (folder / "configs" / f"{dataset}_{rule}.cfg").write_text(text, encoding="utf-8")
    text = markdown(manifest, found, best, seconds)
    (folder / "search.md").write_text(text, encoding="utf-8")
    stability(folder / "stability.png", manifest, found)
    console = Console()
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Flagfiles: {folder / 'configs'}", markup=False, soft_wrap=True)


def markdown(manifest: dict, found: list[dict], best: dict, seconds: dict) -> str:
    """search.md: the protocol, and for each data set and rule its winner, its stability and its cost."""
    protocol = manifest["cells"]["search"]["search"]
    parts = [
        f"Made by `{manifest['command']}`, {tables.about(manifest)}.\n",
        f"{protocol['trials']} trials of each rule on the first data set through rungs of "
        f"{', '.join(protocol['rungs'])} (images x epochs), {protocol['keep']} going on; then the overall factors "
        f"{', '.join(protocol['factors'])} on every data set ({protocol['factor_rung']}). {protocol['seeds']} seeds "
        "for each trial, judged by mean validation accuracy with diverged seeds at chance.\n",
        "| data set | rule | validation % | diverged in the factor stage | time | numbers |",
        "|---|---|---:|---:|---:|---|",
    ]
    for (dataset, rule), entry in best.items():
        stage = [e for e in found if (e["dataset"], e["rule"], e["stage"]) == (dataset, rule, "factor")]
        lost, runs = sum(e["diverged"] for e in stage), sum(e["seeds"] for e in stage)
        numbers = ", ".join(f"{name} {value:g}" for name, value in entry["numbers"].items())
        parts.append(
            f"| {dataset} | {RULES[rule].title} | {entry['score']:.2f} | {lost} of {runs} | "
            f"{tables.clock(seconds[dataset, rule])} | {numbers} |"
        )
    return "\n".join(parts) + "\n"


def stability(path: pathlib.Path, manifest: dict, found: list[dict]) -> None:
    """The stability map: for each rule and data set, accuracy and lost seeds against the rates that were tried."""
    from matplotlib.figure import Figure

    rules = list(dict.fromkeys(entry["rule"] for entry in found))
    datasets = list(dict.fromkeys(entry["dataset"] for entry in found))
    figure = Figure(figsize=(3.1 * len(rules) + 0.8, 2.9 * (1 + len(datasets))), layout="constrained")
    axes = figure.subplots(1 + len(datasets), len(rules), squeeze=False, sharey="row")
    first = [e for e in found if e["dataset"] == datasets[0] and e["stage"] == "rung 0"]
    norm = (min(e["score"] for e in first), max(e["score"] for e in first))
    for axis, rule in zip(axes[0], rules, strict=True):
        tried = [e for e in first if e["rule"] == rule]
        rate = [e["numbers"]["rate_w"] for e in tried]
        height = [e["numbers"].get("rate_v_bar", e["numbers"].get("decay", 0.0)) for e in tried]
        points = axis.scatter(
            rate, height, c=[e["score"] for e in tried], cmap="viridis", vmin=norm[0], vmax=norm[1], s=42, zorder=2
        )
        for e, x, y in zip(tried, rate, height, strict=True):
            if e["diverged"]:  # a ring for one lost seed, a cross when all are lost
                mark = {"marker": "x"} if e["diverged"] == e["seeds"] else {"marker": "o", "facecolors": "none"}
                colours = {"color": "#D55E00"} if mark["marker"] == "x" else {"edgecolors": "#D55E00"}
                axis.scatter([x], [y], s=90, linewidths=1.3, zorder=3, **mark, **colours)
        axis.set(xscale="log", yscale="log", xlabel="η_W", title=f"{RULES[rule].title}\n{datasets[0]}, rung 0")
        axis.set_ylabel("η_V̄" if rule == "sam" else "γ")
    axes[0, 0].set_ylabel("γ (η_V̄ for SAM)")
    figure.colorbar(points, ax=axes[0], label="mean validation accuracy (%)\n× all seeds diverged, ○ some")
    for line, dataset in zip(axes[1:], datasets, strict=True):
        for axis, rule in zip(line, rules, strict=True):
            tried = [e for e in found if (e["dataset"], e["rule"], e["stage"]) == (dataset, rule, "factor")]
            rate = [e["numbers"]["rate_w"] for e in tried]
            axis.plot(rate, [e["score"] for e in tried], color="#0072B2", zorder=1)
            for e, x in zip(tried, rate, strict=True):
                axis.scatter([x] * len(e["alive"]), e["alive"], color="#0072B2", s=12, alpha=0.7)
                if e["diverged"]:
                    chance = 100 / manifest["data"][dataset]["classes"]
                    axis.annotate(f"{e['diverged']} lost", (x, chance), color="#D55E00", ha="center", fontsize=8)
            axis.set(xscale="log", xlabel="η_W", title=f"{RULES[rule].title}\n{dataset}, overall factor")
            axis.grid(alpha=0.25)
        line[0].set_ylabel("validation accuracy (%)\nline: mean, diverged at chance")
    figure.savefig(path, dpi=130)
