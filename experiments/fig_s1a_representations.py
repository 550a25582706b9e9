"""Figure S1a of the paper: V̄V̄ᵀ and WWᵀ before and after training, and the spectra of V̄ and W.

Claim (lines 439-446, Fig. S1a): before training both matrices are nearly diagonal; training correlates a
layer's neurons, and the weight matrices of both streams become effectively low-rank.

    python experiments/fig_s1a_representations.py                         # svhn, 10 runs: 40 minutes on two cores
    python experiments/fig_s1a_representations.py --dataset=PATH/svhn_subset.npz   # 8,001 of its images: 7 minutes

8 hidden layers of 60 neurons and 50 epochs, as in the paper; SGD beside SAM shows what is not due to the circuit.
The share off the diagonal is ‖offdiag C‖ / ‖C‖ (Frobenius), C being the matrix scaled to a diagonal of ones, averaged
over layers; independent random weights have about 0.7. The effective rank is Roy and Vetterli's, of V̄ and W themselves.
The paper calls so the entropy, in nats, of the eigenvalues of V̄V̄ᵀ and WWᵀ, without the exponential: beside it here.
Leaves manifest.json, metrics.jsonl, table.md, table.csv, representations_DATASET.png and verdicts.json.
"""

import jax.numpy as jnp
import numpy as np

from sam_jax import lab, probes
from sam_jax.experiments import paper, verdicts
from sam_jax.lab import compare, figures, statistics, tables
from sam_jax.rules import RULES

# With the usual scales eight layers learn nothing: signal and error fade on their way. He's scale for W and twice the
# usual one for W̄ carry them through; by validation accuracy on the 8,001 SVHN images. Twice these rates diverged.
RATES = {"rate_w": 0.125, "rate_w_bar": 0.0375, "rate_v": 0.25, "rate_v_bar": 0.5, "decay": 1.25e-4}
SCALES = {"scale_w": 1.41, "scale_w_bar": 0.6, "scale_v": 1.0, "scale_v_bar": 1.2}
PATHWAYS = {"v_bar": ("V̄", "\\bar{V}", 1), "w": ("W", "W", 2)}  # symbols, the first hidden layer
PAPER = (3.57, 3.50, 3.34, 2.97)  # the entropies that Figure S1a prints
COLOURS = {"before": "#0072B2", "after": "#D55E00"}
MEASURES = {"off_diagonal": ("share off the diagonal", 1, 0.07), "effective_rank": ("effective rank", -1, 0.25)}


def check(options):
    hidden = options.hidden_widths
    given = ",".join(map(str, hidden))
    if len(set(hidden)) > 1 or len(hidden) < 2:
        raise ValueError(f"hidden_widths is {given}, expected two layers or more, all of one width")
    if options.downstream_widths not in ((), hidden):
        raise ValueError(f"--downstream_widths: V̄V̄ᵀ is drawn beside WWᵀ, so expected {given} or nothing: leave it out")
    if options.tune:
        raise ValueError("--tune changes nothing here for SAM, whose numbers are its own: leave it out")


def arms(options, dataset):
    sam = RULES["sam"]
    given = {name: number for name, number in options.given.items() if name in sam.known_numbers}
    numbers = {} if options.recipe else options.scaled(sam, RATES | SCALES | given, options.rate_factor)
    return {"SAM": lab.Arm("sam", numbers=numbers), "SGD": lab.Arm("sgd")}


def off_diagonal(gram):
    """‖offdiag C‖ / ‖C‖ for a Gram matrix scaled to a diagonal of ones."""
    size = jnp.sqrt(jnp.maximum(jnp.diag(gram), 1e-12))
    squares = (gram / (size[:, None] * size[None, :])) ** 2
    return jnp.sqrt((squares.sum() - jnp.trace(squares)) / squares.sum())


def probe(job, data, synapses):
    """For V̄ and the square W, an entry for each layer; the matrices of the middle layer, the upper triangle alone."""
    found = {}
    for pathway, matrices in (("v_bar", synapses.v_bar), ("w", synapses.w[1:-1])):
        if matrices:
            found[f"{pathway}_off_diagonal"] = jnp.stack([off_diagonal(m @ m.T) for m in matrices])
            found[f"{pathway}_effective_rank"] = jnp.stack([probes.effective_rank(m) for m in matrices])
            found[f"{pathway}_entropy"] = jnp.log(jnp.stack([probes.effective_rank(m @ m.T) for m in matrices]))
            spectra = jnp.stack([probes.spectrum(m) for m in matrices])
            found[f"{pathway}_spectrum"] = (spectra / spectra[:, :1]).mean(axis=0)
            middle = matrices[len(matrices) // 2]
            found[f"{pathway}_gram"] = jnp.round(middle @ middle.T, 3)[jnp.triu_indices(len(middle))]
    return found


def ends(results, dataset, arm):
    """(rows before training, rows after) by seed, of the runs that are through and did not diverge."""
    last = results.cells(dataset)[arm]["protocol"]["epochs"]
    chosen = results.of(dataset, arm)
    after = {row["seed"]: row for row in chosen if row["epoch"] == last and not row["diverged"]}
    return {row["seed"]: row for row in chosen if row["epoch"] == 0 and row["seed"] in after}, after


def verdict(results, dataset, measure):
    """Whether SAM's training raises the share off the diagonal, or lowers the effective rank, in both pathways."""
    before, after = ends(results, dataset, "SAM")
    title, sign, by = MEASURES[measure]
    outcomes, ours, effects = [], [], []
    for pathway, (symbol, _, _) in PATHWAYS.items():
        at = [{s: float(np.mean(row[f"{pathway}_{measure}"])) for s, row in end.items()} for end in (before, after)]
        paired = statistics.paired(at[1], at[0])
        bounds = sorted(sign * b for b in (paired.low, paired.high)) if paired.low is not None else (None, None)
        outcomes.append(statistics.outcome(*bounds, by * np.mean([*at[0].values()])))
        means = [statistics.interval(statistics.estimate(values.values())) for values in at]
        of = f"{symbol}{symbol}ᵀ" if measure == "off_diagonal" else symbol
        ours.append(f"{title} of {of}: {means[0]} before, {means[1]} after, {statistics.describe(paired, 'apart')}")
        effects.append(compare.Effect(f"{title} of {of}, after − before", paired, ""))
    says = "neurons become correlated" if sign > 0 else "the weight matrices become effectively low-rank"
    says += f" (tested: a change by {100 * by:.0f} % or more)"
    ours += results.diverged_seeds(dataset, "SAM")
    outcome = compare.together(outcomes)
    return verdicts.Verdict("s1a", results.setting(dataset), says, "; ".join(ours), outcome, tuple(effects))


def heat_map(axis, triangle, layer, symbol, when):
    """A Gram matrix over the mean of its diagonal, from its upper triangle."""
    n = int(np.sqrt(2 * len(triangle)))
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n)] = triangle
    matrix += np.triu(matrix, 1).T
    image = axis.imshow(matrix / np.trace(matrix) * n, cmap="RdBu_r", vmin=-1, vmax=1)
    title = f"${symbol}\\,{symbol}^T$ {when} training"
    axis.set(title=title, xlabel=f"neuron of hidden layer {layer}", xticks=[0, n - 1], yticks=[0, n - 1])
    return image


def line(axis, start, values, **look):
    """The mean over seeds with its sd as a band, from `start` on; values [seeds, x]."""
    x, mean = range(start, start + len(values[0])), np.mean(values, axis=0)
    sd = np.std(values, axis=0, ddof=1) if len(values) > 1 else 0.0
    axis.plot(x, mean, linewidth=1.8, **look)
    axis.fill_between(x, mean - sd, mean + sd, color=look["color"], alpha=0.2, linewidth=0)


def draw(path, results, dataset):
    """As in the paper: V̄V̄ᵀ above, WWᵀ below, before and after; to the right spectra, and ranks by layer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(17, 6.8), layout="constrained")
    axes = figure.subplots(2, 5)
    for (pathway, (_, symbol, start)), row_of_axes in zip(PATHWAYS.items(), axes, strict=True):
        first, second, spectra, ranks, entropies = row_of_axes
        maps = {"before": first, "after": second}
        for arm, dashes in (("SAM", "-"), ("SGD", "--")):
            for end, when in zip(ends(results, dataset, arm), ("before", "after"), strict=True):
                if every := [row for _, row in sorted(end.items()) if f"{pathway}_gram" in row]:
                    look = {"color": COLOURS[when], "linestyle": dashes, "label": f"{arm}, {when}"}
                    line(spectra, 1, [row[f"{pathway}_spectrum"] for row in every], **look)
                    line(ranks, start, [row[f"{pathway}_effective_rank"] for row in every], marker=".", **look)
                    if f"{pathway}_entropy" in every[0]:  # which records before it have not
                        line(entropies, start, [row[f"{pathway}_entropy"] for row in every], marker=".", **look)
                    if arm == "SAM":
                        layer = len(every[0][f"{pathway}_effective_rank"]) // 2 + start
                        image = heat_map(maps[when], every[0][f"{pathway}_gram"], layer, symbol, when)
        spectra.set(title=f"spectrum of ${symbol}$, mean over layers", xlabel="rank", ylabel="singular value / largest")
        ranks.set(title=f"effective rank of ${symbol}$", xlabel="hidden layer", ylabel="effective rank", ylim=(0, None))
        for value in PAPER:
            once = "the paper's four values" if value == PAPER[0] else None
            entropies.axhline(value, color="#888888", linestyle=":", label=once)
        entropies.set(title=f"entropy of ${symbol}\\,{symbol}^T$", xlabel="hidden layer", ylabel="entropy (nats)")
        entropies.set(ylim=(0, None))
        entropies.legend(frameon=False, fontsize=8, handlelength=3)
        for axis in (spectra, ranks, entropies):
            axis.grid(alpha=0.25)
            axis.xaxis.get_major_locator().set_params(integer=True)
        spectra.legend(frameon=False, fontsize=8)
    figure.colorbar(image, ax=axes[:, 1], label="entry / mean of the diagonal")
    figure.suptitle(f"{results.setting(dataset)}; matrices of one seed, curves mean ± sd over seeds")
    figures.save(figure, path, shades=True)


def make(results):
    tables.leave(results)
    found = []
    for dataset in results.datasets:
        if any(ends(results, dataset, "SAM")):
            draw(results.folder / f"representations_{dataset}.png", results, dataset)
            found += [verdict(results, dataset, measure) for measure in MEASURES]
    verdicts.write(results.folder, found)


DEFAULTS = {"dataset": ["svhn"], "hidden_widths": ["60"] * 8, "evaluate_every": 25}
EXPERIMENT = paper.experiment(
    "fig_s1a_representations", __doc__, arms, make, probe=probe, defaults=DEFAULTS, check=check
)

if __name__ == "__main__":
    lab.main(EXPERIMENT)
