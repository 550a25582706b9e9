"""Figure S1d of the paper: accuracy against the width of the downstream stream, for several nonlinearities.

Claim (lines 431-436, Fig. S1d): with the upstream layers kept at d = 200 neurons, a wider downstream
stream makes the network better, up to about d̄ = 7.5 d.

    python experiments/fig_s1d_overparametrization.py --train_images=10000 --epochs=8   # 63 runs: 12 minutes, two cores
    python experiments/fig_s1d_overparametrization.py --remake=runs/FOLDER              # its tables and figure again

What the downstream stream sends to a neuron, V̄ h̄, adds up over its d̄ neurons: a step of V̄ of one size does d̄ / d
times as much. So η_V̄ is divided by max(1, d̄ / d): --divided names the pathways, and --divided= keeps all rates.
The paper does not say how it chose its rates for each width. Dividing η_W̄ as well makes the wide circuits so slow
that a short run shows them worse for this alone; with all rates kept they learn fastest until they diverge.

Leaves manifest.json, metrics.jsonl, table.md, table.csv, overparametrization_DATASET.png and verdicts.json.
"""

import numpy as np
import options
import present
import runner
from absl import flags

from sam_jax import figures, tables, verdicts
from sam_jax.circuit import ACTIVATIONS, PATHWAYS

flags.adopt_module_key_flags(options)
flags.adopt_module_key_flags(runner)
WIDTH = flags.DEFINE_integer("width", 200, "upstream neurons of each hidden layer", lower_bound=1)
RATIOS = flags.DEFINE_list("ratios", ["0.25", "0.5", "1", "2", "5", "7.5", "10"], "downstream over upstream neurons")
KINDS = flags.DEFINE_list("activations", ["relu", "tanh", "gelu"], "nonlinearities of the upstream stream")
DIVIDED = flags.DEFINE_list("divided", ["v_bar"], "pathways whose rate is divided by max(1, d̄ / d)")
flags.register_validator("divided", lambda names: not names or options.known(names, PATHWAYS, "pathway"))
flags.register_validator("activations", lambda names: options.known(names, ACTIVATIONS, "activation"))
SYMBOLS = {"w": "W", "w_bar": "\\bar{W}", "v": "V", "v_bar": "\\bar{V}"}
PAPER = 7.5  # the ratio up to which the paper finds an improvement


def arm_name(activation, ratio):
    return f"{activation}, d̄ = {ratio:g} d"


def arms(dataset):
    d, layers = WIDTH.value, len(options.FLAGS.hidden_widths)
    factor = options.FLAGS.rate_factor or 1.0  # the runner multiplies it in again
    rates = options.make_settings("sam", dataset).rates._asdict()
    found = {}
    for activation in dict.fromkeys(KINDS.value):
        for ratio in sorted({float(text) for text in RATIOS.value}):
            circuit = {
                "widths": (d,) * layers,
                "downstream_widths": (max(1, round(ratio * d)),) * layers,
                "activation": activation,
            }
            numbers = {f"rate_{p}": rates[p] / factor / max(1.0, ratio) for p in DIVIDED.value}
            found[arm_name(activation, ratio)] = runner.Arm(
                "sam", circuit, numbers, {"evaluate_every": options.FLAGS.epochs}
            )
    return found


def by_ratio(manifest, rows, dataset):
    """{activation: {d̄ / d: {seed: final test accuracy, None where it diverged}}}."""
    found = {}
    for arm, cell in manifest["cells"][dataset].items():
        ratio = float(arm.split(" = ")[1].split()[0])  # as asked for, which rounding to whole neurons can miss
        if values := tables.final(rows, dataset, arm):
            found.setdefault(cell["circuit"]["activation"], {})[ratio] = values
    return {activation: dict(sorted(ratios.items())) for activation, ratios in found.items()}


def divided(manifest, dataset):
    """Which rates were divided in the wide circuits, in words, from the manifest."""
    rates = [cell["settings"]["rates"] for cell in manifest["cells"][dataset].values()]
    names = [f"$\\eta_{{{symbol}}}$" for p, symbol in SYMBOLS.items() if len({r[p] for r in rates}) > 1]
    return f"{', '.join(names)} divided by $\\bar{{d}}$ / d where above 1" if names else "all rates kept"


def draw(path, manifest, rows, dataset):
    """Test accuracy against d̄ / d: a line for each nonlinearity, mean ± sd over seeds, each seed a faint point."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axis = figure.subplots()
    every = by_ratio(manifest, rows, dataset)
    for place, (activation, ratios) in enumerate(every.items()):
        look = figures.style(activation, place)
        alive = {ratio: [v for v in values.values() if v is not None] for ratio, values in ratios.items()}
        x = [ratio * 1.015 ** (place - (len(every) - 1) / 2) for ratio in ratios]  # side by side, not on one another
        mean = [np.mean(v) if v else np.nan for v in alive.values()]
        sd = [np.std(v, ddof=1) if len(v) > 1 else 0.0 for v in alive.values()]
        axis.errorbar(x, mean, yerr=sd, **look, marker="o", capsize=3, linewidth=1.8, label=activation)
        for here, values in zip(x, alive.values(), strict=True):
            axis.plot([here] * len(values), values, ".", color=look["color"], alpha=0.35)
        for here, ratio in zip(x, ratios, strict=True):
            if lost := sum(value is None for value in ratios[ratio].values()):
                axis.annotate(
                    f"✕{lost}",
                    (here, 0.02 + 0.05 * place),
                    xycoords=("data", "axes fraction"),
                    color=look["color"],
                    ha="center",
                )
    axis.axvline(PAPER, color="#555555", linestyle=":", label="the paper: better up to 7.5")
    ticks = sorted({ratio for ratios in every.values() for ratio in ratios})
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{ratio:g}" for ratio in ticks])
    axis.set_xticks([], minor=True)
    cell = next(iter(manifest["cells"][dataset].values()))
    axis.set_xlabel(f"overparametrization ratio $\\bar{{d}}$ / d, with d = {cell['circuit']['widths'][1]}")
    axis.set_ylabel("test accuracy (%)")
    notes = f"{divided(manifest, dataset)}; ✕n: n seeds diverged, not in the mean"
    axis.set_title(f"{present.setting(manifest, rows, dataset)}\n{notes}", fontsize=10)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=150)


def verdict(manifest, rows, dataset, activation):
    """7.5 above 1 and above 0.25, and 10 not above 7.5; None where a ratio was not run."""
    pairs = [(arm_name(activation, a), arm_name(activation, b)) for a, b in ((PAPER, 1), (PAPER, 0.25), (10, PAPER))]
    if {row["arm"] for row in rows if row["dataset"] == dataset}.issuperset(sum(pairs, ())):
        says = f"wider is better up to about {PAPER:g} times ({activation}): {PAPER:g} above 1 and 0.25, 10 not above"
        rise = present.above("s1d", manifest, rows, dataset, says, pairs[:2])
        end = present.above("s1d", manifest, rows, dataset, says, pairs[2:])
        # Undecided is all that an interval around no difference can say, and no rise beyond 7.5 is what is claimed.
        ended = "does not hold" if end.outcome == "holds" else "holds"
        return rise._replace(ours=f"{rise.ours}; {end.ours}", outcome=present.together([rise.outcome, ended]))
    return None


def make(folder):
    manifest, rows = present.write_tables(folder)
    found = []
    for dataset in manifest["data"]:
        if activations := by_ratio(manifest, rows, dataset):
            draw(folder / f"overparametrization_{dataset}.png", manifest, rows, dataset)
            found += [verdict(manifest, rows, dataset, activation) for activation in activations]
    verdicts.write(folder, [v for v in found if v])


if __name__ == "__main__":
    runner.main(arms, make, probe=lambda *_: {}, dataset=["cifar10"], seeds=3)
