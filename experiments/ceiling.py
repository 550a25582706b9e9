"""How far one matrix for each layer can carry the error: the ceiling of every rule with D_d = I.

With D_d = I all that a hidden layer hears is C ε with one matrix C for all examples (docs/linear_feedback.md), so SAM
is direct feedback whose C learns. Here C is the best there is, and backprop stands above it.

    python experiments/ceiling.py --tune                    # cifar10 and mnist, 6 arms: an hour or two on two cores
    python experiments/ceiling.py --remake=runs/FOLDER      # its tables and figure again

The arms: backprop; W̄ = Wᵀ and V = V̄ = I without gates on the way, so that C is the product of the transposes; the C
that misses backprop's own signal least, by least squares over the batch at hand, or over a running average of batches;
SAM; direct feedback alignment, whose C stays random. --tune chooses a rate for each by validation accuracy. Not an
experiment of the paper's: it gives no verdict. Leaves manifest.json, metrics.jsonl, table.md, table.csv, ceiling.png.
"""

import jax
import jax.numpy as jnp

from sam_jax import dynamics, lab
from sam_jax.circuit import Activity
from sam_jax.connections import send
from sam_jax.experiments import paper
from sam_jax.lab import figures, tables
from sam_jax.rules import dfa, sam, sgd

RIDGE = 1e-5  # of the mean of ε²: a softmax's ε sums to zero, so its moments are singular
FORGETTING = 0.02  # share of a running average that the batch at hand replaces


def moments(gate, signal, error):
    """What least squares needs, for each neuron by itself, since its gate chooses the examples that count.

    gate and signal [B, d], error [B, K] -> mean gate² ε εᵀ [d, K, K] and mean gate² signal ε [d, K].
    """
    weights = gate**2 / len(gate)
    return jnp.einsum("bj,bk,bl->jkl", weights, error, error), jnp.einsum("bj,bj,bk->jk", weights, signal, error)


def best_map(of_error, with_signal):
    """The C [d, K] that makes the mean of gate² (signal - C ε)² least; rows of zeros for neurons that are silent."""
    classes = of_error.shape[-1]
    ridge = RIDGE * jnp.trace(of_error, axis1=1, axis2=2) / classes + 1e-12
    regular = of_error + ridge[:, None, None] * jnp.eye(classes)[None]
    return jnp.linalg.solve(regular, with_signal[..., None])[..., 0]


def measured(circuit, state, error):
    """`moments` of every hidden layer, of the signal that backprop has there."""
    state = dynamics.feedback(circuit, state, error)  # the circuit is backprop's
    gates = [dynamics.derivative(circuit.phi, h) for h in state.activity.h[1:-1]]
    return tuple(moments(*pair, error) for pair in zip(gates, state.activity.h_bar[:-1], strict=True))


def heard(state, found, error):
    h_bar = tuple(send(best_map(*layer), error) for layer in found)
    return state._replace(activity=Activity(state.activity.h, (*h_bar, error)))


def batch_feedback(circuit, state, teacher):
    return heard(state, measured(circuit, state, teacher.error), teacher.error)


def running_init(circuit, key, numbers):
    """The averages begin at nothing; their ratio is right from the first batch on."""
    classes = circuit.widths[-1]
    nothing = [(jnp.zeros((d, classes, classes)), jnp.zeros((d, classes))) for d in circuit.hidden_widths]
    return dynamics.init(circuit, key, numbers)._replace(memory=tuple(nothing))


def running_feedback(circuit, state, teacher):
    new = measured(circuit, state, teacher.error)
    average = jax.tree.map(lambda old, one: old + FORGETTING * (one - old), state.memory, new)
    return heard(state._replace(memory=average), average, teacher.error)


transposes = sgd.replace(
    name="transposes",
    title="Wᵀ without gates",
    circuit={**sgd.circuit, "downstream_activation": "identity"},
)
best_of_batch = sgd.replace(name="best_of_batch", title="best map, each batch", feedback=batch_feedback)
best_running = sgd.replace(
    name="best_running", title="best map, running average", init=running_init, feedback=running_feedback
)
LOOKS = {
    transposes.name: {"color": "#999999", "linestyle": "-."},
    best_of_batch.name: {"color": "#E69F00", "linestyle": "-"},
    best_running.name: {"color": "#CC79A7", "linestyle": (0, (5, 1, 1, 1))},
}
ARMS = (sgd, transposes, best_of_batch, best_running, sam, dfa)


def arms(options, dataset):
    return {one.name: lab.Arm(one) for one in ARMS}


def draw(path, results):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 0.7 + 3.6 * len(results.datasets)), layout="constrained")
    lefts = [left for left, _, _ in figures.compared(figure, results, LOOKS, ordered=False)]
    figures.legend(figure, lefts, ncols=3, handlelength=3)
    figures.save(figure, path)


def make(results):
    tables.leave(results, reference="sgd")
    draw(results.folder / "ceiling.png", results)


EXPERIMENT = paper.experiment(
    "ceiling", __doc__, arms, make, defaults={"dataset": ["cifar10", "mnist"], "epochs": 20, "evaluate_every": 2}
)

if __name__ == "__main__":
    lab.main(EXPERIMENT)
