"""Tables of ✓ and ✗, as Markdown and as a figure: `tables[title][row][column]` is a (tick, number or None) pair."""

import math

from sam_jax.lab import figures

MARKS = {True: "✓", False: "✗", None: "?"}
COLOURS = {True: "#009E73", False: "#E8E8E8", None: "#E69F00"}


def write_markdown(path, tables: dict) -> None:
    """The tables one under the other, without their numbers."""
    lines = []
    for title, table in tables.items():
        columns = list(next(iter(table.values())))
        lines += [f"### {title}", "", "| | " + " | ".join(columns) + " |", "|---" + "|:---:" * len(columns) + "|"]
        for name, cells in table.items():
            lines.append(f"| {name} | " + " | ".join(MARKS[tick] for tick, _ in cells.values()) + " |")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")


def draw(path, tables: dict, note: str) -> None:
    """The tables one under the other, each number small under its mark; a rule in the middle of the columns."""
    from matplotlib.figure import Figure

    heights = [len(table) for table in tables.values()]
    figure = Figure(figsize=(9.5, 0.5 * sum(heights) + 0.95 * len(heights) + 0.3), layout="constrained")
    axes = figure.subplots(len(tables), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axis, (title, table) in zip(axes, tables.items(), strict=True):
        columns = list(next(iter(table.values())))
        for y, cells in enumerate(table.values()):
            for x, (tick, number) in enumerate(cells.values()):
                axis.fill_between([x + 0.02, x + 0.98], y + 0.04, y + 0.96, color=COLOURS[tick], linewidth=0)
                look = {"ha": "center", "va": "center", "color": "white" if tick else "#444444"}
                axis.text(x + 0.5, y + (0.5 if number is None else 0.34), MARKS[tick], fontsize=13, **look)
                if number is not None:
                    small = f"{number:.2g}" if math.isfinite(number) else "diverges"
                    axis.text(x + 0.5, y + 0.76, small, fontsize=8, **look)
        axis.set(xlim=(0, len(columns)), ylim=(len(table), 0))
        axis.set_yticks([y + 0.5 for y in range(len(table))], list(table))
        axis.set_xticks([x + 0.5 for x in range(len(columns))], [c.replace(" ", "\n") for c in columns], fontsize=9)
        axis.tick_params(length=0)
        axis.axvline(len(columns) / 2, color="black", linewidth=1.2)
        axis.spines[:].set_visible(False)
        axis.set_title(title, loc="left", fontsize=10)
    figure.supxlabel(note, fontsize=8)
    figures.save(figure, path)
