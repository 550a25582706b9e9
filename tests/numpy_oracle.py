"""One step of the circuit in NumPy, float64, one example at a time, in the paper's own indices.

Written from eq. (5)-(11) and not from the library: matrices are dictionaries {layer: matrix} with
layers counted from 1 as in the paper, every D is a diagonal matrix, nothing is batched, and V = V̄ = I
or W̄ = Wᵀ are matrices like any other. Slow, and meant to be read next to the paper.

`circuit` supplies settings only: widths, downstream_widths, and the names of the options.
"""

import numpy as np

GELU = np.sqrt(2 / np.pi)  # of the tanh form: ½ h (1 + tanh(√(2/π) (h + 0.044715 h³)))


def gelu_slope(h):
    """d/dh ½ h (1 + tanh u(h)), by the product rule."""
    t = np.tanh(GELU * (h + 0.044715 * h**3))
    return 0.5 * (1 + t) + 0.5 * h * (1 - t**2) * GELU * (1 + 3 * 0.044715 * h**2)


# φ: a neuron's answer to its potential, and its slope φ'.
PHI = {
    "relu": lambda h: np.where(h > 0, h, 0.0),
    "leaky_relu": lambda h: np.where(h > 0, h, 0.01 * h),
    "tanh": np.tanh,
    "sigmoid": lambda h: 1 / (1 + np.exp(-h)),
    "gelu": lambda h: 0.5 * h * (1 + np.tanh(GELU * (h + 0.044715 * h**3))),
    "linear": lambda h: h,
}
SLOPE = {
    "relu": lambda h: np.where(h > 0, 1.0, 0.0),  # eq. (7)
    "leaky_relu": lambda h: np.where(h > 0, 1.0, 0.01),
    "tanh": lambda h: 1 / np.cosh(h) ** 2,
    "sigmoid": lambda h: np.exp(-h) / (1 + np.exp(-h)) ** 2,
    "gelu": gelu_slope,
    "linear": np.ones_like,
}
# ε = -∂F/∂ŷ of one example; y is the row of 0 and 1 that was wanted.
EPSILON = {
    "cross_entropy": lambda y_hat, y: y - np.exp(y_hat) / np.exp(y_hat).sum(),
    "mse": lambda y_hat, y: 2 * (y - y_hat),
    "sigmoid_cross_entropy": lambda y_hat, y: y - 1 / (1 + np.exp(-y_hat)),
}


def from_library(circuit, synapses):
    """The library's tuples as {layer: matrix}, with what it does not store written out."""
    top = len(circuit.widths)
    w = {1 + i: np.asarray(m, float) for i, m in enumerate(synapses.w)}
    w_bar = {2 + i: np.asarray(m, float) for i, m in enumerate(synapses.w_bar)}
    v = {2 + i: np.asarray(m, float) for i, m in enumerate(synapses.v)}
    v_bar = {1 + i: np.asarray(m, float) for i, m in enumerate(synapses.v_bar)}
    for layer in range(2, top):
        width = circuit.widths[layer - 1]
        if circuit.feedback_weights == "tied":
            w_bar[layer] = w[layer].T
        if circuit.one_to_one:
            v[layer] = np.eye(width)
            v_bar[layer - 1] = np.eye(width)
    v_bar[top - 1] = np.eye(circuit.widths[-1])  # the orange arrows of Fig. 1
    return {"w": w, "w_bar": w_bar, "v": v, "v_bar": v_bar}


def to_library(circuit, matrices):
    """{pathway: {layer: matrix}} as the library's tuples, without what it does not store."""
    first_and_last = {"w": (1, -1), "w_bar": (2, -1), "v": (2, -1), "v_bar": (1, -2)}
    tuples = {}
    for pathway, (first, last) in first_and_last.items():
        layers = range(first, len(circuit.widths) + last + 1)
        tuples[pathway] = tuple(matrices[pathway][layer] for layer in layers) if pathway in circuit.stored else ()
    return tuples


def one_example(circuit, matrices, x, y, loss):
    """h, h̄ and the four products post preᵀ of eq. (8)-(11) for one example, as {layer: ...}."""
    w, w_bar, v, v_bar = (matrices[pathway] for pathway in ("w", "w_bar", "v", "v_bar"))
    top = len(circuit.widths)
    hidden = range(2, top)
    gated = circuit.gated

    # eq. (5), upstream. D_u h is φ(h) in a hidden layer and h itself at the pixels.
    h, sent_up = {1: x}, {1: x}
    for layer in range(1, top):
        h[layer + 1] = w[layer] @ sent_up[layer]
        sent_up[layer + 1] = PHI[circuit.activation](h[layer + 1])
    d_up = {layer: np.diag(SLOPE[circuit.activation](h[layer])) for layer in hidden}
    d_up[top] = np.eye(circuit.widths[-1])  # no nonlinearity at the output

    # eq. (6), downstream.
    h_bar = {top: EPSILON[loss](h[top], y)}
    sent_down = {top: h_bar[top]}
    for layer in reversed(hidden):
        h_bar[layer] = collapse(circuit.error_signal, w_bar[layer] @ sent_down[layer + 1])
        sent_down[layer] = {
            "identity": lambda signal, layer: signal,
            "gate": lambda signal, layer: d_up[layer] @ signal,
            "relu": lambda signal, layer: PHI["relu"](signal),
            "tanh": lambda signal, layer: PHI["tanh"](signal),
        }[circuit.downstream_activation](h_bar[layer], layer)

    delta = {"w": {}, "w_bar": {}, "v": {}, "v_bar": {}}
    for layer in range(1, top):  # eq. (8)
        if "w" not in gated:
            post = v_bar[layer] @ sent_down[layer + 1]
        elif circuit.downstream_activation == "gate":  # D_u and D_d are one gate here, and it acts once
            post = d_up[layer + 1] @ v_bar[layer] @ h_bar[layer + 1]
        else:
            post = d_up[layer + 1] @ v_bar[layer] @ sent_down[layer + 1]
        delta["w"][layer] = np.outer(post, sent_up[layer])
    for layer in hidden:  # eq. (9)
        post = v[layer] @ sent_up[layer]
        if "w_bar" in gated and circuit.downstream_activation in ("relu", "tanh"):
            post = np.diag(SLOPE[circuit.downstream_activation](h_bar[layer])) @ post
        delta["w_bar"][layer] = np.outer(post, sent_down[layer + 1])
    for layer in hidden:  # eq. (10)
        delta["v"][layer] = np.outer(sent_down[layer] if "v" in gated else h_bar[layer], sent_up[layer])
    for layer in range(1, top - 1):  # eq. (11)
        delta["v_bar"][layer] = np.outer(sent_up[layer + 1] if "v_bar" in gated else h[layer + 1], sent_down[layer + 1])
    return h, h_bar, delta


def collapse(error_signal, h_bar):
    """The scalar error: one number, shared by the layer's neurons."""
    if error_signal == "mean":
        return np.full(h_bar.size, h_bar.sum() / h_bar.size)
    if error_signal == "norm":
        return np.full(h_bar.size, np.sqrt((h_bar**2).sum()))
    return h_bar


def one_step(circuit, synapses, x, y, loss, rates, decay, scale=1.0):
    """Eq. (5)-(11) for a batch, x [B, d_1] and y [B, d_L].

    Returns:
      h, h_bar: lists of [B, d], the input side first.
      direction: the batch averages of the four products, as the library's tuples.
      after: the synapses M + s (η_M direction - γ M) for plastic M, M for the others.
    """
    matrices = from_library(circuit, synapses)
    runs = [one_example(circuit, matrices, x_b, y_b, loss) for x_b, y_b in zip(x, y, strict=True)]
    h = [np.array([run[0][layer] for run in runs]) for layer in sorted(runs[0][0])]
    h_bar = [np.array([run[1][layer] for run in runs]) for layer in sorted(runs[0][1])]
    direction, after = {}, {}
    for pathway, current in matrices.items():
        direction[pathway], after[pathway] = {}, dict(current)
        for layer in runs[0][2][pathway]:
            mean = sum(run[2][pathway][layer] for run in runs) / len(runs)
            if pathway not in circuit.plastic:
                direction[pathway][layer] = np.zeros_like(current[layer])
                continue
            direction[pathway][layer] = mean
            after[pathway][layer] = current[layer] + scale * (rates[pathway] * mean - decay * current[layer])
    return h, h_bar, to_library(circuit, direction), to_library(circuit, after)
