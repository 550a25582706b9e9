"""SAM's free choices, and the rules that SAM contains (paper, lines 331-337, 347-352 and 391-400).

Claims: the two streams may have different widths; any downstream nonlinearity D_d and either
postsynaptic signal S_post learn about as well as the default (here: at most one point below); and with
V = V̄ = I and the gate as D_d, SAM is exactly backprop, Feedback Alignment or Kolen-Pollack.

    python experiments/variants.py                       # fashion_mnist, about an hour on two cores
    python experiments/variants.py --dataset=digits --epochs=10   # a minute or two
    python experiments/variants.py --remake=runs/FOLDER  # its tables and figure again

Every variant, the default too, runs with the default's numbers and with --factors times its rates and decay, and
counts by the factor with the best validation accuracy (a diverged seed at chance). Where d̄ > d the rates of W̄, V and V̄
are divided by d̄/d, since what V̄ and W̄ send grows with the neurons that send. A reduction runs beside its rival with
the rival's numbers: it is then the rival's very circuit, so a difference can only come from the code;
tests/test_reductions.py shows the same with stored identity matrices. Leaves in `--out_dir`: manifest.json,
metrics.jsonl, table.md, table.csv, variants.png, verdicts.json.
"""

from sam_jax import lab
from sam_jax.experiments import paper, verdicts
from sam_jax.lab import compare, figures, flags, tables, trials
from sam_jax.rule import OPTIONAL
from sam_jax.rules import RULES

DEFAULT, PLAIN = "SAM (default)", "S_post plain"
WIDTHS = {"d̄ = d/2": (0.5,), "d̄ = 2d": (2.0,), "d̄ uneven": (0.6, 1.5, 0.4)}  # d̄/d, layer after layer
GATES = {f"D_d = {name}": name for name in ("gate", "relu", "tanh")}
REDUCTIONS = {  # the rival, its rule, and what SAM's circuit holds to become it
    "SAM as SGD": ("sgd", {"feedback_weights": "tied", "plastic": ("w",)}),
    "SAM as Feedback Alignment": ("fa", {"plastic": ("w",)}),
    "SAM as Kolen–Pollack": ("kp", {"plastic": ("w", "w_bar")}),
}
VARIANTS = (DEFAULT, *WIDTHS, *GATES, PLAIN)
LOOKS = {arm: figures.style(arm, place) for place, arm in enumerate(VARIANTS)}
RIVAL_COLOURS = {"sgd": "#999999", "fa": "#E69F00", "kp": "#56B4E9"}


def at(name, factor):
    """An arm's name."""
    return name if factor == 1 else f"{name}, rates × {factor:g}"


def tried(results, dataset, name):
    """A variant's arms, one for each factor, the smallest first."""
    arms, cells = results.tagged(dataset, variant=name), results.cells(dataset)
    return sorted(arms, key=lambda arm: cells[arm]["tags"]["factor"])


def chosen(results, dataset):
    """`found[variant]`: the arm of its best factor by mean validation accuracy."""
    end, chance = max(row["epoch"] for row in results.rows if row["dataset"] == dataset), results.chance(dataset)

    def score(arm):
        ended = [row for row in results.of(dataset, arm) if row["epoch"] == end]
        return trials.score(ended, results.measure(dataset), chance)

    return {name: max(tried(results, dataset, name), key=score) for name in VARIANTS}


def bracketed(results, dataset, name, best):
    """Whether the best factor has one on either side that trained: then no better one is to be expected."""
    arms = tried(results, dataset, name)
    alive = [any(v is not None for v in results.final(dataset, arm).values()) for arm in arms]
    place = arms.index(best)
    return 0 < place < len(arms) - 1 and alive[place - 1] and alive[place + 1]


def fails(results, dataset, name, best):
    """Whether a variant is more than a point below the default, and no factor that was not tried would mend it."""
    pair = [(best[name], best[DEFAULT])]
    below = compare.above(results, dataset, pair, margin=-1, lost_is_chance=True).outcome == "does not hold"
    return below and bracketed(results, dataset, name, best[name])


def check(options):
    if options.downstream_widths:
        raise ValueError("--downstream_widths is what this experiment varies: leave it out")
    flags.need_validation(options)


def arms(options, dataset):
    hidden, found = options.hidden_widths, {}
    sam = RULES["sam"]
    searched = options.numbers_of(sam, dataset.name, {})
    fields = {DEFAULT: {}, PLAIN: {"gated": ()}}
    fields |= {name: {"downstream_activation": gate} for name, gate in GATES.items()}
    for name, ratios in WIDTHS.items():
        widths = tuple(max(1, round(ratios[i % len(ratios)] * width)) for i, width in enumerate(hidden))
        fields[name] = {"downstream_widths": widths}
    for name in VARIANTS:
        wider = max((1.0, *WIDTHS.get(name, ())))
        for factor in map(float, options.own.factors):
            numbers = options.scaled(sam, searched, factor)
            numbers |= {n: numbers[n] / wider for n in ("rate_w_bar", "rate_v", "rate_v_bar")}
            tags = {"variant": name, "factor": factor}
            found[at(name, factor)] = lab.Arm("sam", circuit=fields[name], numbers=numbers, tags=tags)
    for name, (rival, held) in REDUCTIONS.items():
        circuit = {"one_to_one": True, "downstream_activation": "gate", **held}
        numbers = dict.fromkeys(OPTIONAL) | options.numbers_of(RULES[rival], dataset.name, {})
        found |= {rival: lab.Arm(rival), name: lab.Arm("sam", circuit=circuit, numbers=numbers)}
    return found


def judge(results, dataset):
    """The verdicts of one data set."""
    found, best, setting = [], chosen(results, dataset), results.setting(dataset)
    for claim, names, says in (
        ("widths", WIDTHS, "The streams may have different widths (tested: at most 1 point below equal widths)"),
        ("downstream_nonlinearity", GATES, "Any D_d (tested: at most 1 point below the identity)"),
        ("postsynaptic_signal", [PLAIN], "Either postsynaptic signal (tested: plain at most 1 point below gated)"),
    ):
        pairs = [(best[name], best[DEFAULT]) for name in names]
        ours, outcome, effects = compare.above(results, dataset, pairs, margin=-1, lost_is_chance=True)
        if outcome == "does not hold" and not any(fails(results, dataset, name, best) for name in names):
            outcome = "undecided"
            ours += "; undecided, since a better factor may lie beyond or between those tried"
        found.append(verdicts.Verdict(claim, setting, says, ours, outcome, effects))
    ours, outcomes = [], []
    for name, (rival, _) in REDUCTIONS.items():
        apart = compare.largest_difference(results, dataset, name, rival)
        ours.append(f"{name}: " + ("no pairs" if apart is None else f"largest difference {apart:g}"))
        outcomes.append("undecided" if apart is None else "holds" if apart == 0 else "does not hold")
    says = "With V = V̄ = I and D_d = gate, SAM is exactly SGD, FA or KP"
    ours = "one circuit by construction; train loss and test accuracy over all epochs and seeds; " + "; ".join(ours)
    return [*found, verdicts.Verdict("reductions", setting, says, ours, compare.together(outcomes))]


def draw(path, results):
    from matplotlib.figure import Figure

    names = results.datasets
    figure = Figure(figsize=(16, 1.4 + 4.6 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 3, squeeze=False)
    for (left, middle, right), dataset in zip(axes, names, strict=True):
        looks = {arm: LOOKS[name] for name, arm in chosen(results, dataset).items()}
        figures.accuracy(left, results, dataset, looks)
        figures.points(middle, results, dataset, looks, ordered=False)
        looks = {}
        for name, (rival, _) in REDUCTIONS.items():  # broad and light under thin and dark
            looks[rival] = {"color": RIVAL_COLOURS[rival], "linewidth": 7}
            looks[name] = {"color": "#000000", "linestyle": "--", "linewidth": 1.1}
        figures.accuracy(right, results, dataset, looks)
        left.set_title(results.setting(dataset), fontsize=10)
        middle.set_title("SAM's variants at their best factor, the default on top", fontsize=10)
        apart = [compare.largest_difference(results, dataset, name, rival) for name, (rival, _) in REDUCTIONS.items()]
        known = "–" if None in apart else f"{max(apart):g}"
        right.set_title(f"SAM (thin) with a rival's settings and numbers\nlargest difference: {known}", fontsize=10)
    for column, title, place in ((0, "variants", "lower left"), (2, "reductions", "lower right")):
        figures.legend(figure, axes[:, column], title=title, loc=f"outside {place}", ncols=3)
    figures.save(figure, path)


def make(results):
    tables.leave(results, reference=DEFAULT)
    draw(results.folder / "variants.png", results)
    verdicts.write(results.folder, [verdict for dataset in results.datasets for verdict in judge(results, dataset)])


FACTORS = lab.Flag("factors", ["1", "0.3", "0.1"], "times the default's rates and decay", flags.numbers())
EXPERIMENT = paper.experiment(
    "variants",
    __doc__,
    arms,
    make,
    defaults={"dataset": ["fashion_mnist"], "epochs": 15},
    flags=(FACTORS,),
    check=check,
)

if __name__ == "__main__":
    lab.main(EXPERIMENT)
