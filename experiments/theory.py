"""The theorems (lines 476-541) in real training: Lemma 1, Theorem 3 and Proposition 1.

Lemma 1: with η_V = η_V̄, V - V̄ᵀ shrinks by exactly 1 - sγ a step (s: the schedule), so that V̄ -> Vᵀ. With unequal
rates the same is true of V/η_V - V̄ᵀ/η_V̄. Theorem 3: where V and V̄ are stationary, have full rank and d <= d̄, SAM's
step of W is H = V̄V̄ᵀ times SGD's. Proposition 1: descent through a positive semidefinite H never raises the loss.

    python experiments/theory.py                        # 5,000 mnist images: ten minutes on two cores
    python experiments/theory.py --remake=runs/FOLDER   # its figure and verdicts again

Stationary here means on average over the training images (at most 5,000): the theorem asks it of an example, where γV =
η_V h̄aᵀ has rank 1, against the full rank it also asks; on average rank V^{L-1} <= the number of classes. `v_residual`
is ‖η_V·mean(h̄aᵀ) - γV‖/(γ‖V‖), 0 where V is stationary; `example_` columns are medians over 100 single examples.
Leaves manifest.json, metrics.jsonl, proposition1.json, table.md, table.csv, theory_DATASET.png, verdicts.json.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np

from sam_jax import dynamics, inputs, interventions, lab, probes
from sam_jax.circuit import State
from sam_jax.experiments import paper, theory_report, verdicts
from sam_jax.lab import flags, tables
from sam_jax.lab.arms import choose_loss
from sam_jax.rules import RULES

NUMBERS = {"rate_w": 0.05, "rate_w_bar": 0.05, "rate_v": 0.05, "rate_v_bar": 0.05, "decay": 2e-3, "scale_w_bar": 0.3}
NUMBERS |= {"scale_w": 1.0, "scale_v": 1.0, "scale_v_bar": 1.0}
PROTOCOL = {"schedule": "cosine", "warmup_epochs": 0.0, "decay_times_rate": False}
DESCENTS = "proposition1.json"
SETS = ("downstream_widths", "last_batch", "decay_times_rate", "schedule", "warmup_epochs")


def check(options):
    flags.need_nothing_given(options)
    flags.need_hidden(options)


def arms(options, dataset):
    held = {"interventions": (interventions.Intervention("freeze", "w", options.epochs // 2),)}

    def arm(ratio=1, protocol=None, **numbers):
        down = tuple(max(1, int(ratio * width)) for width in options.hidden_widths)
        settled = RULES["sam"].settle(NUMBERS | numbers, options.rate_factor)
        return lab.Arm(
            "sam", circuit={"downstream_widths": down}, numbers=settled, protocol=PROTOCOL | (protocol or {})
        )

    return {
        theory_report.EQUAL: arm(),
        theory_report.WIDER: arm(2),
        "d̄ = d/2": arm(0.5),
        "W held from half-time": arm(protocol=held),
        "V, V̄ tiny at first": arm(scale_v=0.05, scale_v_bar=0.05),
        theory_report.UNDECAYED: arm(decay=0.0),
        theory_report.UNEQUAL: arm(rate_v=0.025, rate_v_bar=0.1),
    }


def probe(job, data, synapses):
    if not (synapses.v and synapses.v_bar):  # a rule beside: the theorems say nothing of it
        return probes.alignment(synapses)
    circuit, train, numbers = job.circuit, data.splits["train"], job.numbers
    rate_v, rate_v_bar = numbers["rate_v"], numbers["rate_v_bar"]
    x, labels = inputs.standardise(data, train.images[:5000]), train.labels[:5000]

    def against(synapses, x, labels, rate):
        return probes.against_gradient(circuit, synapses, x, labels, job.protocol.loss, numbers["decay"] / rate)

    alone = jax.vmap(lambda x, label: against(synapses, x[None], label[None], rate_v))(x[:100], labels[:100])
    turned = synapses._replace(v=tuple(v_bar.T for v_bar in synapses.v_bar))  # V̄'s rule is V's, transposed
    pairs = list(zip(synapses.v, turned.v, strict=True))
    return {
        **against(synapses, x, labels, rate_v),
        "v_bar_residual": against(turned, x, labels, rate_v_bar)["v_residual"],
        **{f"example_{name}": jnp.nanmedian(values, axis=0) for name, values in alone.items()},
        "v_angle": probes.alignment(synapses)["v_angle"],
        "v_rank": jnp.stack([probes.effective_rank(v) for v in synapses.v]),
        "h_smallest": jnp.stack([jnp.linalg.eigvalsh(h)[0] for h in probes.preconditioner(synapses)]),
        "gap": jnp.stack([jnp.linalg.norm(v - vt) for v, vt in pairs]),
        "scaled_gap": jnp.stack([jnp.linalg.norm(v / rate_v - vt / rate_v_bar) for v, vt in pairs]),
    }


def descents(options, dataset, seeds=3, steps=200, rate=0.05):
    """Proposition 1 on 2,000 images: W^l <- W^l - rate H^l ∇F, with random H^l whose largest |eigenvalue| is 1."""
    data, loss = inputs.place(dataset, options.pixels), choose_loss(options, dataset.name, dataset.task)
    widths = (dataset.pixels, *options.hidden_widths, dataset.classes)
    circuit, train = RULES["sgd"](widths, activation=options.activation), data.splits["train"]
    x, labels = inputs.standardise(data, train.images[:2000]), train.labels[:2000]

    def run(seed, definite):
        key = jax.random.key(seed)

        def matrix(i, width):  # semidefinite: of half the rank
            a = jax.random.normal(jax.random.fold_in(key, 100 + i), (width, (width + 1) // 2 if definite else width))
            h = a @ a.T if definite else a + a.T
            return h / jnp.linalg.norm(h, 2)

        h = [matrix(i, width) for i, width in enumerate(circuit.widths[1:])]

        def step(synapses, _):
            state = dynamics.forward(circuit, State(synapses), x)
            y_hat = state.activity.h[-1]
            gradient = dynamics.local_update(circuit, dynamics.feedback(circuit, state, loss.error(y_hat, labels)))
            w = tuple(w - rate * m @ g for w, m, g in zip(synapses.w, h, gradient.w, strict=True))
            return synapses._replace(w=w), loss.value(y_hat, labels).mean()

        return jax.lax.scan(step, dynamics.init(circuit, key).synapses, length=steps + 1)[1]

    kinds = {theory_report.DEFINITE: True, theory_report.INDEFINITE: False}
    with jax.default_matmul_precision(options.precision):
        found = {arm: jax.vmap(run, (0, None))(jnp.arange(seeds), definite) for arm, definite in kinds.items()}
    return {arm: [[v if np.isfinite(v) else None for v in c] for c in curves.tolist()] for arm, curves in found.items()}


def more(options, folder, datasets):
    path = folder / DESCENTS
    found = json.loads(path.read_text()) if path.exists() else {}
    for dataset in datasets:
        found[dataset.name] = found.get(dataset.name) or descents(options, dataset)
    path.write_text(json.dumps(found) + "\n")


def make(results):
    tables.leave(results)
    curves, found = json.loads((results.folder / DESCENTS).read_text()), []
    for dataset in results.datasets:
        theory_report.draw(results.folder / f"theory_{dataset}.png", results, dataset, curves[dataset])
        found += theory_report.judge(results, dataset, curves[dataset])
    verdicts.write(results.folder, found)


SIZES = {"train_images": 5000, "hidden_widths": ["60", "60"], "batch_size": 500, "epochs": 400, "evaluate_every": 20}
EXPERIMENT = paper.experiment(
    "theory",
    __doc__,
    arms,
    make,
    probe=probe,
    defaults={"dataset": ["mnist"], **SIZES},
    more=more,
    sets=SETS,
    check=check,
)

if __name__ == "__main__":
    lab.main(EXPERIMENT)
