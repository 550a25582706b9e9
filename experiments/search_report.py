"""What a search leaves: flagfiles of the winners, the protocol and budget in words, and the stability map."""

import collections
import pathlib

import numpy as np
from rich.console import Console

from sam_jax import RULES, records, sweep, tables


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
    """The best trial of the last factors for each (data set, rule); the first of equals."""
    best = {}
    for entry in found:
        cell = entry["dataset"], entry["rule"]
        if entry["stage"].startswith("factor"):
            held = best.setdefault(cell, entry)
            if (entry["stage"], entry["score"]) > (held["stage"], held["score"]):
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
    ratios, first, *others = manifest["cells"]["search"].values()
    parts = [
        f"Made by `{manifest['command']}`, {tables.about(manifest)}.\n",
        f"{ratios['trials']} trials of each rule on the first data set through rungs of "
        f"{', '.join(ratios['rungs'])} (images x epochs), {ratios['keep']} going on; then, on every data set, "
        f"the overall factors {', '.join(first['factors'])} ({first['rung']}), and the best of these with its two "
        f"neighbours in longer runs ({', '.join(stage['rung'] for stage in others)}). {ratios['seeds']} seeds for each "
        "trial, judged by mean validation accuracy with diverged seeds at chance.\n",
        "| data set | rule | validation % | diverged over the factors | time | numbers |",
        "|---|---|---:|---:|---:|---|",
    ]
    for (dataset, rule), entry in best.items():
        tried = [e for e in found if (e["dataset"], e["rule"]) == (dataset, rule)]
        stage = [e for e in tried if e["stage"].startswith("factor")]
        lost, runs = sum(e["diverged"] for e in stage), sum(e["seeds"] for e in stage)
        numbers = ", ".join(f"{name} {value:g}" for name, value in entry["numbers"].items())
        parts.append(
            f"| {dataset} | {RULES[rule].title} | {entry['score']:.2f} | {lost} of {runs} | "
            f"{tables.clock(seconds[dataset, rule])} | {numbers} |"
        )
    return "\n".join(parts) + "\n"


def stability(path: pathlib.Path, manifest: dict, found: list[dict]) -> None:
    """The stability map: accuracy and lost seeds over the rates that were tried, and over each overall factor."""
    from matplotlib.figure import Figure

    rules = list(dict.fromkeys(entry["rule"] for entry in found))
    datasets = list(dict.fromkeys(entry["dataset"] for entry in found))
    first = [e for e in found if e["dataset"] == datasets[0] and e["stage"] == "rung 0"]
    maps = [[(rule, "decay", r"$\gamma$") for rule in rules]]
    if "sam" in rules:
        others = (("rate_w_bar", r"$\eta_{\bar W}$"), ("rate_v", r"$\eta_V$"), ("rate_v_bar", r"$\eta_{\bar V}$"))
        maps.append([("sam", *other) for other in others])
    columns = max(map(len, maps))
    figure = Figure(figsize=(3.0 * columns + 1.2, 2.9 * (len(maps) + len(datasets))), layout="constrained")
    axes = figure.subplots(len(maps) + len(datasets), columns, squeeze=False)
    for line in axes:
        for axis in line:
            axis.set_visible(False)
    scores = [e["score"] for e in first]
    for line, panels in zip(axes, maps, strict=False):
        for axis, (rule, name, label) in zip(line, panels, strict=False):
            points = _map(axis, [e for e in first if e["rule"] == rule], name, (min(scores), max(scores)))
            axis.set(title=f"{RULES[rule].title}: {datasets[0]}", ylabel=label)
    figure.colorbar(
        points,
        ax=axes[: len(maps)],
        label="mean validation accuracy (%), diverged at chance\n× all seeds diverged, ○ some",
    )
    for line, dataset in zip(axes[len(maps) :], datasets, strict=True):
        for axis, rule in zip(line, rules, strict=False):
            _factors(axis, [e for e in found if (e["dataset"], e["rule"]) == (dataset, rule)])
            axis.set_title(RULES[rule].title)
        line[0].set_ylabel(f"{dataset}\nvalidation accuracy (%)")
    handles, labels = axes[len(maps), 0].get_legend_handles_labels()
    title = "dots: seeds; line: mean, diverged at chance; n lost: diverged seeds"
    figure.legend(handles, labels, title=title, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=130)


def _map(axis, tried, name, limits):
    """The first rung's trials, coloured by score, over the rate of W and another number."""
    axis.set_visible(True)
    rate = [e["numbers"]["rate_w"] for e in tried]
    height = [e["numbers"][name] for e in tried]
    colours = [e["score"] for e in tried]
    points = axis.scatter(rate, height, c=colours, cmap="viridis", vmin=limits[0], vmax=limits[1], s=40)
    for e, x, y in zip(tried, rate, height, strict=True):
        if e["diverged"] == e["seeds"]:
            axis.scatter([x], [y], s=90, linewidths=1.3, marker="x", color="#D55E00")
        elif e["diverged"]:
            axis.scatter([x], [y], s=90, linewidths=1.3, facecolors="none", edgecolors="#D55E00")
    axis.set(xscale="log", yscale="log", xlabel=r"$\eta_W$")
    _few_ticks(axis, rate)
    return points


def _factors(axis, entries):
    """Accuracy of every seed over the rate of W, and the mean, which leaves the view where seeds are lost."""
    axis.set_visible(True)
    tried = [e for e in entries if e["stage"].startswith("factor")]
    for level, stage in enumerate(dict.fromkeys(e["stage"] for e in tried)):
        colour = ("#56B4E9", "#0072B2", "#D55E00", "#CC79A7")[level % 4]
        trials = sorted((e for e in tried if e["stage"] == stage), key=lambda e: e["numbers"]["rate_w"])
        rate = [e["numbers"]["rate_w"] for e in trials]
        axis.plot(rate, [e["score"] for e in trials], color=colour, zorder=1, label=f"{trials[0]['epochs']} epochs")
        for e, x in zip(trials, rate, strict=True):
            axis.scatter([x] * len(e["alive"]), e["alive"], color=colour, s=12, alpha=0.7)
            if e["diverged"]:
                at = {"xy": (x, 0.03 + 0.08 * level), "xycoords": ("data", "axes fraction")}
                axis.annotate(f"{e['diverged']} lost", **at, color=colour, ha="right", fontsize=8)
    alive = [value for e in tried for value in e["alive"]] or [0, 100]
    margin = 0.1 * (max(alive) - min(alive)) + 0.1
    axis.set(xscale="log", xlabel=r"$\eta_W$ (all rates and $\gamma$ alike)")
    axis.set_ylim(min(alive) - 2 * margin, max(alive) + margin)
    axis.grid(alpha=0.25)
    _few_ticks(axis, [e["numbers"]["rate_w"] for e in tried])


def _few_ticks(axis, values):
    """Three round ticks over the range: a log axis of less than a decade crowds its own."""
    from matplotlib.ticker import NullFormatter

    ticks = sorted({float(f"{v:.1g}") for v in np.geomspace(min(values), max(values), 3)})
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
