"""The verdicts and the figure of theory.py."""

import numpy as np

from sam_jax.experiments import verdicts
from sam_jax.lab import figures, statistics

EQUAL, WIDER, UNDECAYED, UNEQUAL = "d̄ = d", "d̄ = 2d", "γ = 0", "η_V̄ = 4 η_V"
ASSUMED = (EQUAL, WIDER)  # d <= d̄, and V and V̄ of full rank at the start
NEAR, STILL = 0.95, 0.1  # a cosine; and a residual below which V and V̄ count as stationary
DEFINITE, INDEFINITE = "H ⪰ 0", "H indefinite"
MEANS = {
    "means over layers: cosine to ΔW_SGD alone": "gradient_cosine",
    "to eq. (40)": "gated_cosine",
    "for single examples": "example_theorem_cosine",
    "‖ΔV‖/γ‖V‖": "v_residual",
    "for single examples ": "example_v_residual",
    "effective rank of V": "v_rank",
}


def layers(results, dataset, arm, column):
    """`found[epoch][seed]`: the mean over the hidden layers, where the run has it."""
    found = {}
    for row in results.of(dataset, arm):
        if not row["diverged"] and None not in row.get(column, [None]):
            found.setdefault(row["epoch"], {})[row["seed"]] = float(np.mean(row[column]))
    return found


def shrunk(cell, epochs):
    """Lemma 1's closed form: the product of 1 - sγ over the steps of so many epochs."""
    total = (per_epoch := cell["images"] // cell["protocol"]["batch_size"]) * cell["protocol"]["epochs"]
    schedule = 0.5 * (1 + np.cos(np.pi * np.arange(per_epoch * epochs) / total))
    return float(np.prod(1 - schedule * cell["numbers"]["decay"]))


def last(results, dataset, arm, column, pick=np.mean):
    """The estimate over seeds of a probe's column after the last epoch, `pick` of the layers; of nothing without it."""
    measured = any(column in row for row in results.of(dataset, arm))
    return statistics.estimate(results.by_seed(dataset, arm, column, pick).values() if measured else ())


def theorem3(results, dataset, arm):
    """The verdict on Theorem 3 of an arm: undecided where V is not stationary, since that is the theorem's premise."""

    def end(column, pick=np.mean):
        return last(results, dataset, arm, column, pick)

    cosine, error = end("theorem_cosine", np.min), end("theorem_error", np.max)
    ends = [end(column, np.max).mean for column in ("v_residual", "v_bar_residual")]
    residual = max((one for one in ends if one is not None), default=np.inf)
    settled = cosine.low is not None and residual <= STILL  # else nothing tests what the theorem says
    outcome = statistics.outcome(cosine.low, cosine.high, NEAR) if settled else "undecided"
    ours = f"{results.title(arm)}: least cosine of a layer {statistics.interval(cosine)}"
    ours += f", largest relative error {statistics.interval(error)}"
    for title, column in MEANS.items():
        if (known := end(column)).n:
            ours += f"; {title} {statistics.interval(known)}"
    if (smallest := end("h_smallest", np.min)).n:
        ours += f"; H's smallest eigenvalue {smallest.mean:.1e}"
    if cosine.n and not settled:
        ours += f"; not stationary: a residual of {residual:.2f}, over {STILL}"
    says = f"ΔW is H ΔW_SGD (cosine ≥ {NEAR} in every layer) once V and V̄ are stationary (residuals ≤ {STILL})"
    return verdicts.Verdict("theorem3", results.setting(dataset), says, ours, outcome)


def judge(results, dataset, curves):
    """A verdict on Lemma 1, on Theorem 3 for each arm that has its premises, and on Proposition 1."""
    setting, cells = results.setting(dataset), results.cells(dataset)

    def off(arm, column):  # the largest relative distance from the closed form; 0 is the first epoch
        by_epoch = layers(results, dataset, arm, column)
        form = {epoch: shrunk(cells[arm], epoch) for epoch in by_epoch}
        return max(abs(g / by_epoch[0][s] / form[e] - 1) for e, gaps in by_epoch.items() for s, g in gaps.items())

    ends = {}
    for arm in (EQUAL, UNDECAYED, UNEQUAL):
        gap, angle = (last(results, dataset, arm, column) for column in ("gap", "v_angle"))
        if gap.n:
            ends[arm] = f"{gap.mean:.3g}, {angle.mean:.1f}°"
    ours = (
        f"‖V − V̄ᵀ‖ is the closed form's to a relative {off(EQUAL, 'gap'):.1e}; at the end it and the angle are "
        + "; ".join(f"{end} ({arm})" for arm, end in ends.items())
        + f". With {UNEQUAL}, V/η_V − V̄ᵀ/η_V̄ follows it to a relative {off(UNEQUAL, 'scaled_gap'):.1e}"
    )
    says = "With equal rates V − V̄ᵀ shrinks by 1 − γ a step"
    outcome = "holds" if off(EQUAL, "gap") < 1e-3 else "does not hold"
    if max(layers(results, dataset, EQUAL, "gap")) == 0:  # all diverged before the first evaluation
        outcome = "undecided"
    found = [verdicts.Verdict("lemma1", setting, says, ours, outcome)]
    found += [theorem3(results, dataset, arm) for arm in ASSUMED]
    rises = {arm: sum(np.sum(np.diff(np.array(c, float)) > 0) for c in each) for arm, each in curves.items()}
    steps = sum(len(curve) - 1 for curve in curves[DEFINITE])
    ours = f"the loss rose at {rises[DEFINITE]} of {steps} steps; with an indefinite H at {rises[INDEFINITE]}"
    says = "The loss falls at every step through a semidefinite H"
    images = min(2000, results.manifest["data"][dataset]["sizes"]["train"])
    where = f"{dataset} ({images:,} training images), {len(curves[DEFINITE])} seeds"
    outcome = "does not hold" if rises[DEFINITE] else "holds"
    return [*found, verdicts.Verdict("proposition1", where, says, ours, outcome)]


def draw(path, results, dataset, curves):
    """Lemma 1 over epochs; Theorem 3 against how far V is from stationary; Proposition 1 over steps."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(14, 9), layout="constrained")
    (gap, cosine, error), (angle, rank, descent) = figure.subplots(2, 3)

    def means(arm, column):
        return {epoch: np.mean([*v.values()]) for epoch, v in layers(results, dataset, arm, column).items()}

    def line(axis, arm, y, x=None, **look):
        y, x = (means(arm, column) if column else None for column in (y, x))
        both = [e for e in y if x is None or (e in x and e > 0)]
        axis.plot(both if x is None else [x[e] for e in both], [y[e] for e in both], markevery=[-1], **look)

    theirs = [arm for arm in results.arms(dataset) if means(arm, "gap")]  # a rule beside may have no V
    for place, arm in enumerate(theirs):
        name = figures.label(results.title(arm)) + results.lost(dataset, arm)
        look = figures.style("", place) | {"label": name, "marker": "o"}
        if arm in (EQUAL, UNDECAYED, UNEQUAL):
            line(gap, arm, "gap", **look)
            line(angle, arm, "v_angle", **look)
            gaps, cell = means(arm, "gap"), results.cells(dataset)[arm]
            epochs = list(gaps)
            form = [gaps[0] * shrunk(cell, epoch) for epoch in epochs]
            gap.plot(epochs, form, "k.", markersize=4, label=None if place else "closed form")
        if arm != UNDECAYED:
            for axis, column in ((cosine, "theorem_cosine"), (error, "theorem_error"), (rank, "v_rank")):
                line(axis, arm, column, "v_residual", **look)
            line(cosine, arm, "gradient_cosine", "v_residual", color=look["color"], alpha=0.3)
    for arm, colour in ((DEFINITE, "#0072B2"), (INDEFINITE, "#D55E00")):
        for place, curve in enumerate(curves[arm]):
            descent.plot(np.array(curve, float), color=colour, label=None if place else arm)
    still = "‖ΔV‖ / γ‖V‖: how far V is from stationary"
    gap.set(title="Lemma 1: V̄ → Vᵀ", xlabel="epoch", ylabel="‖V − V̄ᵀ‖", yscale="log")
    angle.set(title="Lemma 1", xlabel="epoch", ylabel="angle between V and V̄ᵀ (°)", ylim=(0, 95))
    cosine.set(title="Theorem 3: ΔW against H ΔW_SGD (faint: ΔW_SGD)", xlabel=still, ylabel="cosine", xscale="log")
    cosine.axhline(NEAR, color="grey", linewidth=0.8)
    error.set(title="Theorem 3: ‖ΔW − H ΔW_SGD‖ / ‖H ΔW_SGD‖", xlabel=still, ylabel="relative error", xscale="log")
    rank.set(title="Its premise: V of full rank", xlabel=still, ylabel="effective rank of V", xscale="log")
    descent.set(title="Proposition 1: θ ← θ − 0.05 H∇F", xlabel="step", ylabel="training loss")
    descent.set_ylim(0, 2 * curves[DEFINITE][0][0])
    for axis in (cosine, error, rank):  # less than two decades: the log axis crowds its own ticks
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xticks([0.1, 0.2, 0.5, 1, 2, 5], ["0.1", "0.2", "0.5", "1", "2", "5"])
    for axis in (cosine, error, rank, gap, angle, descent):
        figures.plain(axis)
    figures.legend(figure, (gap, error), ncols=4, handlelength=4)
    descent.legend(frameon=False)
    figure.suptitle(f"{results.setting(dataset)}, means over layers and seeds; a dot is the end")
    figures.save(figure, path, dpi=110)
