"""The paper's equations: `init`, `forward`, `feedback`, `local_update`.

Pure functions of a state. Shapes as in `circuit.py`; activity is in rows, so that a product with a
[post, pre] matrix reads `signal @ matrix.T`, and a batch average of post preᵀ is `outer(post, pre)`.
"""

import jax
import jax.numpy as jnp

from sam_jax.circuit import PATHWAYS, Activity, Circuit, State, Synapses

# D_u: what a neuron sends, φ(h); its derivative φ'(h) gates what the neuron receives.
PHI = {
    "relu": jax.nn.relu,  # eq. (7)
    "leaky_relu": jax.nn.leaky_relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": jax.nn.gelu,
    "linear": lambda h: h,
}
UNIT_SCALES = Synapses(1.0, 1.0, 1.0, 1.0)


def derivative(phi, h):
    """φ'(h), elementwise; 0 at a relu's corner, as in eq. (7). `h` of any shape."""
    return jax.jvp(phi, (h,), (jnp.ones_like(h),))[1]


def outer(post, pre):
    """The batch average of post preᵀ: [B, post], [B, pre] -> [post, pre]."""
    return post.T @ pre / post.shape[0]


def init(circuit: Circuit, key: jax.Array, scales: Synapses = UNIT_SCALES) -> State:
    """Gaussian synapses with standard deviation `scale / sqrt(fan_in)`, and no activity yet.

    W̄ takes the fan-in of the W it stands for, d̄_l: at scale 1 it is drawn as Wᵀ is.

    Args:
      circuit: the static description.
      key: a PRNG key. Each matrix has a key of its own, made from its pathway and its place, so that
        rules that share a seed share W, whatever else they store.
      scales: one number for each pathway; they may be traced.
    """

    def matrices(pathway):
        pathway_key = jax.random.fold_in(key, PATHWAYS.index(pathway))
        scale = getattr(scales, pathway)

        def fan_in(post, pre):
            return post if pathway == "w_bar" else pre

        return tuple(
            scale / fan_in(*shape) ** 0.5 * jax.random.normal(jax.random.fold_in(pathway_key, i), shape)
            for i, shape in enumerate(getattr(circuit.shapes, pathway))
        )

    return State(Synapses(*map(matrices, PATHWAYS)))


def forward(circuit: Circuit, state: State, x: jax.Array) -> State:
    """The upstream pathway, eq. (5). Fills `state.activity.h`: h[0] = x [B, d_1], h[-1] = ŷ [B, d_L].

    Raises:
      ValueError: x is not [B, d_1].
    """
    if x.ndim != 2 or x.shape[1] != circuit.widths[0]:
        raise ValueError(f"x has shape {x.shape}, expected [B, {circuit.widths[0]}] (the first of widths)")
    phi = PHI[circuit.activation]
    h, sent = (x,), x  # D_u^1 = I
    for w in state.synapses.w:
        h += (sent @ w.T,)  # eq. (5)  h^{l+1} = W^l D_u^l h^l
        sent = phi(h[-1])
    return state._replace(activity=Activity(h))


def feedback(circuit: Circuit, state: State, error: jax.Array) -> State:
    """The downstream pathway, eq. (6). Fills `state.activity.h_bar`: one for each hidden layer, then ε.

    Args:
      circuit: the static description.
      state: as `forward` left it.
      error: ε = -∂F/∂ŷ for each example, [B, d_L].

    Raises:
      ValueError: error is not of the shape of ŷ, or `forward` has not run.
    """
    h, _ = state.activity
    if not h or error.shape != h[-1].shape:
        expected = f"that of ŷ, {h[-1].shape}" if h else "a state that forward has filled"
        raise ValueError(f"error has shape {error.shape}, expected {expected}")
    gates = _gates(circuit, h)
    h_bar = (error,)
    for i in reversed(range(len(circuit.hidden_widths))):
        w_bar = state.synapses.w[i + 1].T if circuit.feedback_weights == "tied" else state.synapses.w_bar[i]
        sent = error if len(h_bar) == 1 else _sent_downstream(circuit, h_bar[0], gates[i + 1])
        h_bar = (_collapse(circuit, sent @ w_bar.T), *h_bar)  # eq. (6)  h̄^l = W̄^l D_d^{l+1} h̄^{l+1}
    return state._replace(activity=Activity(h, h_bar))


def local_update(circuit: Circuit, state: State) -> Synapses:
    """What every pathway descends along, eq. (8)-(11), averaged over the batch; Synapses of matrices.

    Stands where `jax.grad` stands in other code, and equals it for `sgd`: minus the paper's ΔW, ΔW̄,
    ΔV, ΔV̄ without rate and decay, which are the optimizer's (`plasticity.py`). A stored pathway that
    is not plastic gets zeros.

    Args:
      circuit: the static description.
      state: as `forward` and then `feedback` left it.

    Raises:
      ValueError: `feedback` has not run.
    """
    synapses, (h, h_bar) = state
    if not h_bar:
        raise ValueError("the state has no h_bar: run forward, then feedback, before local_update")
    hidden = range(len(circuit.hidden_widths))
    gates = _gates(circuit, h)
    # What each neuron sends, S_pre: D_u h upstream, D_d h̄ downstream (ε as it is).
    a = h[:1] + tuple(map(PHI[circuit.activation], h[1:-1]))
    b = tuple(_sent_downstream(circuit, h_bar[i], gates[i]) for i in hidden) + h_bar[-1:]

    def dw(i):  # eq. (8)  ΔW^l = η_W (D_u^{l+1} V̄^l D_d^{l+1} h̄^{l+1}) (D_u^l h^l)ᵀ
        if i == len(hidden):
            return outer(h_bar[i], a[i])  # V̄^{L-1} = I, no nonlinearity: the gradient itself
        # D_d = gate is the same gate as D_u: it acts once, where the neuron receives or where it sends.
        once = circuit.downstream_activation == "gate" and circuit.gate_postsynaptic
        feedback_signal = h_bar[i] if once else b[i]
        received = feedback_signal if circuit.one_to_one else feedback_signal @ synapses.v_bar[i].T
        return outer(received * gates[i] if circuit.gate_postsynaptic else received, a[i])

    def dw_bar(i):  # eq. (9)  ΔW̄^l = η_W̄ (D_d^l V^l D_u^l h^l) (D_d^{l+1} h̄^{l+1})ᵀ
        gate = _downstream_gate(circuit, h_bar[i]) if circuit.gate_postsynaptic else None
        if gate is None and not circuit.one_to_one:
            # V leaves the batch average: V (aᵀ b) or (V aᵀ) b, whichever multiplies less.
            return jnp.linalg.multi_dot([synapses.v[i], a[i + 1].T, b[i + 1]]) / len(h[0])
        received = a[i + 1] if circuit.one_to_one else a[i + 1] @ synapses.v[i].T
        return outer(received if gate is None else received * gate, b[i + 1])

    def dv(i):  # eq. (10)  ΔV^l = η_V (D_d^l h̄^l) (D_u^l h^l)ᵀ
        return outer(b[i] if circuit.gate_postsynaptic else h_bar[i], a[i + 1])

    def dv_bar(i):  # eq. (11)  ΔV̄^l = η_V̄ (D_u^{l+1} h^{l+1}) (D_d^{l+1} h̄^{l+1})ᵀ
        # Gated, it is the transpose of eq. (10), so that XLA computes one product for both.
        return dv(i).T if circuit.gate_postsynaptic else outer(h[i + 1], b[i])

    directions = {
        pathway: tuple(map(rule, range(len(getattr(synapses, pathway)))))
        for pathway, rule in zip(PATHWAYS, (dw, dw_bar, dv, dv_bar), strict=True)
        if pathway in circuit.plastic
    }
    held = jax.tree.map(jnp.zeros_like, synapses)
    return jax.tree.map(jnp.negative, held._replace(**directions))


def _gates(circuit, h):
    """φ'(h) [B, d_l] of every hidden layer: D_u as a gate on what the neuron receives."""
    return tuple(derivative(PHI[circuit.activation], potential) for potential in h[1:-1])


def _sent_downstream(circuit, h_bar, gate):
    """D_d h̄ of a hidden layer, [B, d̄_l]."""
    match circuit.downstream_activation:
        case "identity":
            return h_bar
        case "gate":
            return h_bar * gate
        case name:
            return PHI[name](h_bar)


def _downstream_gate(circuit, h_bar):
    """D_d as a gate on what a downstream neuron receives, [B, d̄_l]; None where it is the identity.

    For D_d = gate there is none: the presynaptic signal of eq. (9) is then the transpose of eq. (8)'s
    gated postsynaptic one, and W̄ follows Wᵀ for every nonlinearity, as Kolen and Pollack need.
    """
    if circuit.downstream_activation in ("identity", "gate"):
        return None
    return derivative(PHI[circuit.downstream_activation], h_bar)


def _collapse(circuit, h_bar):
    """The scalar error: [B, d̄_l] -> the layer's mean or norm for each example, at every neuron."""
    match circuit.error_signal:
        case "vector":
            return h_bar
        case "mean":
            scalar = h_bar.mean(axis=1, keepdims=True)
        case "norm":
            scalar = jnp.linalg.norm(h_bar, axis=1, keepdims=True)
    return jnp.broadcast_to(scalar, h_bar.shape)
