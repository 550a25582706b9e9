"""What a search leaves: flagfiles of the winners, the protocol and budget in words, and the stability map."""

import collections
import pathlib
import textwrap

import numpy as np
from rich.console import Console

from sam_jax.lab import figures, records, tables, trials
from sam_jax.lab.results import Results

LABELS = {
    "decay": r"$\gamma$", "rate_w_bar": r"$\eta_{\bar W}$", "rate_v": r"$\eta_V$", "rate_v_bar": r"$\eta_{\bar V}$"
}  # fmt: skip


def by_trial(rows: list[dict]) -> dict[tuple, list[dict]]:
    """The rows of each (data set, rule, stage, trial), in order."""
    groups = collections.defaultdict(list)
    for row in rows:
        groups[row["dataset"], row["arm"], row["stage"], row["trial"]].append(row)
    return dict(groups)


def entries(results: Results) -> list[dict]:
    """A summary of each trial: its score (%), its seeds' percents, how many diverged, and its numbers."""
    found = []
    for (dataset, rule, stage, trial), group in by_trial(results.rows).items():
        measure = results.measure(dataset)
        values = (row[f"val_{measure}"] for row in group if not row["diverged"])
        alive = [100 * value for value in values if value is not None]
        found.append(
            {
                **{"dataset": dataset, "rule": rule, "stage": stage, "trial": trial},
                "score": trials.score(group, measure, results.chance(dataset)),
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
    best: dict[tuple[str, str], dict] = {}
    for entry in found:
        cell = entry["dataset"], entry["rule"]
        if entry["stage"].startswith("factor"):
            held = best.setdefault(cell, entry)
            if (_level(entry), entry["score"]) > (_level(held), held["score"]):
                best[cell] = entry
    return best


def _level(entry: dict) -> int:
    """The place of an entry's stage among its kind: 2 of `factor 2`."""
    return int(entry["stage"].split()[1])


def flagfile(entry: dict, results: Results, seconds: float) -> str:
    """The winner's numbers as a flagfile, with what is expected of it as comments."""
    sd = f" ± {np.std(entry['alive'], ddof=1):.2f}" if len(entry["alive"]) > 1 else ""
    manifest = results.manifest
    lines = [
        f"# {results.title(entry['rule'])} on {entry['dataset']}, chosen on the validation split by",
        f"# {manifest['command']}",
        f"# Expected: {entry['score']:.2f}{sd} % of the validation images after {entry['epochs']} epochs on "
        f"{entry['images']:,} images ({entry['seeds']} seeds, {entry['diverged']} diverged).",
        f"# The search of this rule on this data set took {tables.clock(seconds)} {tables.about(manifest)}.",
    ]
    return "\n".join(lines + [f"--{name}={value:g}" for name, value in entry["numbers"].items()]) + "\n"


def make(results: Results) -> None:
    """Writes configs/, search.md and stability.png from the rows, and prints the winners."""
    folder, found = results.folder, entries(results)
    seconds: collections.Counter = collections.Counter()
    for entry in found:
        seconds[entry["dataset"], entry["rule"]] += entry["seconds"]
    best = winners(found)
    (folder / "configs").mkdir(exist_ok=True)
    for (dataset, rule), entry in best.items():
        text = flagfile(entry, results, seconds[dataset, rule])
        records.replace_whole(folder / "configs" / f"{dataset}_{rule}.cfg", text)
    text = markdown(results, found, best, seconds)
    records.replace_whole(folder / "search.md", text)
    stability(folder / "stability.png", results, found)
    console = Console()
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Flagfiles: {folder / 'configs'}", markup=False, soft_wrap=True)


def markdown(results: Results, found: list[dict], best: dict, seconds: dict) -> str:
    """search.md: the protocol, and for each data set and rule its winner, its stability and its cost."""
    stages = dict(results.manifest["stages"])
    ratios, seeds = stages.pop("ratios"), stages.pop("seeds")["of each trial"]
    first, *others = stages.values()
    longer = ""
    if others:
        longer = f", and the best of these with its two neighbours in longer runs ({', '.join(map(_of, others))})"
    commands = tables.in_turn(results.manifest, lambda stint: f"`{stint['command']}`")
    parts = [
        f"Made by {commands}, {tables.about(results.manifest)}.\n",
        f"{ratios['trials']} trials of each rule on the first data set through rungs of {_of(ratios)}, "
        f"1/{ratios['keep']} going on; then, on every data set, the overall factors "
        f"{', '.join(f'{factor:g}' for factor in first['factors'])} ({_of(first)}){longer}. {seeds} seeds for each "
        "trial, judged by the mean on the validation split with diverged seeds at chance.\n",
        "| data set | rule | validation % | diverged over the factors | time | numbers |",
        "|---|---|---:|---:|---:|---|",
    ]
    for (dataset, rule), entry in best.items():
        tried = [e for e in found if (e["dataset"], e["rule"]) == (dataset, rule)]
        stage = [e for e in tried if e["stage"].startswith("factor")]
        lost, runs = sum(e["diverged"] for e in stage), sum(e["seeds"] for e in stage)
        numbers = ", ".join(f"{name} {value:g}" for name, value in entry["numbers"].items())
        parts.append(
            f"| {dataset} | {results.title(rule)} | {entry['score']:.2f} | {lost} of {runs} | "
            f"{tables.clock(seconds[dataset, rule])} | {numbers} |"
        )
    return "\n".join(parts) + "\n"


def _of(stage: dict) -> str:
    """`3 epochs`; `8000 images x 3 epochs` where a stage had fewer than all."""
    epochs = stage["epochs"] if isinstance(stage["epochs"], list) else [stage["epochs"]]
    images = stage.get("images", [None] * len(epochs))
    images = images if isinstance(images, list) else [images]
    lengths = [f"{e} epoch{'s' if e != 1 else ''}" for e in epochs]
    return ", ".join(e if n is None else f"{n} images x {e}" for n, e in zip(images, lengths, strict=True))


def stability(path: pathlib.Path, results: Results, found: list[dict]) -> None:
    """The stability map: accuracy and lost seeds over the rates that were tried, and over each overall factor."""
    from matplotlib.figure import Figure

    rules = list(dict.fromkeys(entry["rule"] for entry in found))
    titles = {rule: textwrap.fill(results.title(rule), 22) for rule in rules}
    begun = [entry["dataset"] for entry in found if entry["stage"] == "rung 0"]
    home = next(dataset for dataset in results.datasets if dataset in begun)
    first = [e for e in found if e["dataset"] == home and e["stage"] == "rung 0"]
    tuned = [d for d in results.datasets if any(e["dataset"] == d and e["stage"].startswith("factor") for e in found)]
    searched = {e["rule"]: e["numbers"] for e in first}  # the others were searched on another set first
    maps = [[(rule, "decay") for rule, numbers in searched.items() if {"rate_w", "decay"} <= numbers.keys()]]
    if {"rate_w_bar", "rate_v", "rate_v_bar"} <= searched.get("sam", {}).keys():
        maps.append([("sam", name) for name in ("rate_w_bar", "rate_v", "rate_v_bar")])
    maps = [panels for panels in maps if panels]
    columns, lines = max(map(len, [rules, *maps])), len(maps) + len(tuned)
    figure = Figure(figsize=(3.0 * columns + 1.2, 2.9 * max(1, lines)), layout="constrained")
    axes = figure.subplots(max(1, lines), columns, squeeze=False)
    for line in axes:
        for axis in line:
            axis.set_visible(False)
    scores = [e["score"] for e in first]
    for line, panels in zip(axes, maps, strict=False):
        for axis, (rule, name) in zip(line, panels, strict=False):
            points = _map(axis, [e for e in first if e["rule"] == rule], name, (min(scores), max(scores)))
            axis.set(title=titles[rule], ylabel=LABELS[name])
    if maps:
        said = "mean validation\naccuracy (%), diverged at chance\n× all seeds diverged, ○ some"
        figure.colorbar(points, ax=axes[: len(maps)], label=f"{home}: {said}")
    for line, dataset in zip(axes[len(maps) :], tuned, strict=False):
        here = [e for e in found if e["dataset"] == dataset and e["stage"].startswith("factor")]
        for axis, rule in zip(line, rules, strict=False):
            if tried := [e for e in here if e["rule"] == rule]:
                _factors(axis, tried)
                axis.set_title(titles[rule])
        shown = next(axis for axis in line if axis.get_visible())
        shown.set_ylabel(f"{dataset}\nvalidation accuracy (%)")
    if tuned:
        handles, labels = shown.get_legend_handles_labels()
        title = "dots: seeds; line: mean,\ndiverged at chance; n lost: diverged seeds"
        figure.legend(handles, labels, title=title, loc="outside lower center", ncols=len(labels), frameon=False)
    figures.save(figure, path, dpi=80)


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


def _factors(axis, tried):
    """Accuracy of every seed over the rate of W, and the mean, which leaves the view where seeds are lost."""
    axis.set_visible(True)
    numbers = tried[0]["numbers"]
    name = "rate_w" if "rate_w" in numbers else next(iter(numbers))
    for level, stage in enumerate(dict.fromkeys(e["stage"] for e in tried)):
        colour = ("#56B4E9", "#0072B2", "#D55E00", "#CC79A7")[level % 4]
        trials = sorted((e for e in tried if e["stage"] == stage), key=lambda e: e["numbers"][name])
        rate = [e["numbers"][name] for e in trials]
        axis.plot(rate, [e["score"] for e in trials], color=colour, zorder=1, label=f"{trials[0]['epochs']} epochs")
        for e, x in zip(trials, rate, strict=True):
            axis.scatter([x] * len(e["alive"]), e["alive"], color=colour, s=12, alpha=0.7)
            if e["diverged"]:
                at = {"xy": (x, 0.03 + 0.08 * level), "xycoords": ("data", "axes fraction")}
                axis.annotate(f"{e['diverged']} lost", **at, color=colour, ha="right", fontsize=8)
    alive = [value for e in tried for value in e["alive"]] or [0, 100]
    margin = 0.1 * (max(alive) - min(alive)) + 0.1
    said = r"$\eta_W$ (all rates and $\gamma$ alike)" if name == "rate_w" else name
    axis.set(xscale="log", xlabel=said)
    axis.set_ylim(min(alive) - 2 * margin, max(alive) + margin)
    axis.grid(alpha=0.25)
    _few_ticks(axis, [e["numbers"][name] for e in tried])


def _few_ticks(axis, values):
    """Three round ticks over the range: a log axis of less than a decade crowds its own."""
    from matplotlib.ticker import NullFormatter

    ticks = sorted({float(f"{v:.1g}") for v in np.geomspace(min(values), max(values), 3)})
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
