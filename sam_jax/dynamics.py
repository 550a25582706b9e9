"""The paper's equations: `init`, `forward`, `feedback`, `local_update`.

Pure functions of a state. Shapes as in `circuit.py`; activity is in rows, [B, neurons]. What a pathway
does with signals is in `connections.py`.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from sam_jax.circuit import PATHWAYS, PHI, Activity, Circuit, State, Synapses
from sam_jax.connections import back, draw, hebb, hebb_through, send


def derivative(phi, h):
    """φ'(h), elementwise; 0 at a relu's corner, as in eq. (7). `h` of any shape."""
    return jax.jvp(phi, (h,), (jnp.ones_like(h),))[1]


def init(circuit: Circuit, key: jax.Array, numbers: Mapping = {}) -> State:
    """Random synapses with standard deviation scale / sqrt(fan_in), and no activity yet.

    W̄ takes the fan-in of the W it stands for, d̄_l: at scale 1 it is drawn as Wᵀ is.

    Args:
      circuit: the static description.
      key: a PRNG key. Each matrix has a key of its own, made from its pathway and its place, so that
        rules that share a seed share W, whatever else they store.
      numbers: `scale_w`, `scale_w_bar`, `scale_v`, `scale_v_bar`, each 1 where it is missing; they may
        be traced. Other numbers are not read.

    >>> import jax, sam_jax as sj
    >>> state = sj.init(sj.sam(widths=(64, 50, 10)), jax.random.key(0))
    >>> jax.tree.map(lambda matrix: matrix.shape, state.synapses)
    Synapses(w=((50, 64), (10, 50)), w_bar=((50, 10),), v=((50, 50),), v_bar=((50, 50),))
    """

    def matrices(pathway):
        scale = numbers.get(f"scale_{pathway}", 1.0)
        return tuple(
            draw(key_of(key, pathway, i), shape, scale, shape[0 if pathway == "w_bar" else 1], circuit.initial)
            for i, shape in enumerate(getattr(circuit.shapes, pathway))
        )

    return State(Synapses(*map(matrices, PATHWAYS)))


def key_of(key: jax.Array, pathway: str, i: int) -> jax.Array:
    """The key that matrix i of a pathway is drawn with, from the key that `init` was given."""
    pathway_key = jax.random.fold_in(jax.random.fold_in(key, 0), PATHWAYS.index(pathway))
    return jax.random.fold_in(pathway_key, i)


def forward(circuit: Circuit, state: State, x: jax.Array) -> State:
    """The upstream pathway, eq. (5). Fills `state.activity.h`: h[0] = x [B, d_1], h[-1] = ŷ [B, d_L].

    Raises:
      ValueError: x is not [B, d_1].

    >>> import jax, jax.numpy as jnp, sam_jax as sj
    >>> circuit = sj.sgd(widths=(64, 50, 10))
    >>> state = sj.forward(circuit, sj.init(circuit, jax.random.key(0)), jnp.ones((256, 64)))
    >>> [h.shape for h in state.activity.h]
    [(256, 64), (256, 50), (256, 10)]
    """
    if x.ndim != 2 or x.shape[1] != circuit.widths[0]:
        raise ValueError(f"x has shape {x.shape}, expected [B, {circuit.widths[0]}] (the first of widths)")
    h: tuple[jax.Array, ...] = (x,)
    sent = x  # D_u^1 = I
    for w in state.synapses.w:
        h += (send(w, sent),)  # eq. (5)  h^{l+1} = W^l D_u^l h^l
        sent = circuit.phi(h[-1])
    return state._replace(activity=Activity(h))


def feedback(circuit: Circuit, state: State, error: jax.Array) -> State:
    """The downstream pathway, eq. (6). Fills `state.activity.h_bar`: one for each hidden layer, then ε.

    Args:
      circuit: the static description.
      state: as `forward` left it.
      error: ε = -∂F/∂ŷ for each example, [B, d_L].

    Raises:
      ValueError: error is not of the shape of ŷ, or `forward` has not run.

    >>> import jax, jax.numpy as jnp, sam_jax as sj
    >>> circuit, error = sj.sam((6, 5, 3)), jnp.ones((8, 3))
    >>> state = sj.forward(circuit, sj.init(circuit, jax.random.key(0)), jnp.ones((8, 6)))
    >>> state = sj.feedback(circuit, state, error)
    >>> bool(jnp.allclose(state.activity.h_bar[0], error @ state.synapses.w_bar[0].T))  # W̄ ε
    True
    """
    h, _ = state.activity
    if not h or error.shape != h[-1].shape:
        expected = f"that of ŷ, {h[-1].shape}" if h else "a state that forward has filled"
        raise ValueError(f"error has shape {error.shape}, expected {expected}")
    gates = _gates(circuit, h)
    h_bar: tuple[jax.Array, ...] = (error,)
    for i in reversed(range(len(circuit.hidden_widths))):
        sent = error if len(h_bar) == 1 else _sent_downstream(circuit, h_bar[0], gates[i + 1])
        if circuit.feedback_weights == "tied":
            received = back(state.synapses.w[i + 1], sent)
        else:
            received = send(state.synapses.w_bar[i], sent)
        h_bar = (_collapse(circuit, received), *h_bar)  # eq. (6)  h̄^l = W̄^l D_d^{l+1} h̄^{l+1}
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

    >>> import jax, jax.numpy as jnp, sam_jax as sj
    >>> circuit, x, labels = sj.sgd((6, 5, 3)), jnp.ones((4, 6)), jnp.array([0, 1, 2, 0])
    >>> def loss(synapses):
    ...     y_hat = sj.forward(circuit, sj.State(synapses), x).activity.h[-1]
    ...     return sj.losses.cross_entropy.value(y_hat, labels).mean()
    >>> state = sj.forward(circuit, sj.init(circuit, jax.random.key(0)), x)
    >>> state = sj.feedback(circuit, state, sj.losses.cross_entropy.error(state.activity.h[-1], labels))
    >>> update, gradient = sj.local_update(circuit, state), jax.grad(loss)(state.synapses)
    >>> all(jnp.allclose(a, b, atol=1e-6) for a, b in zip(update.w, gradient.w, strict=True))
    True
    """
    synapses, (h, h_bar), _ = state
    if not h_bar:
        raise ValueError("the state has no h_bar: run forward, then feedback, before local_update")
    hidden = range(len(circuit.hidden_widths))
    gates = _gates(circuit, h)
    # What each neuron sends, S_pre: D_u h upstream, D_d h̄ downstream (ε as it is).
    a = h[:1] + tuple(map(circuit.phi, h[1:-1]))
    b = tuple(_sent_downstream(circuit, h_bar[i], gates[i]) for i in hidden) + h_bar[-1:]

    def fed_back(i):
        """V̄^l D_d^{l+1} h̄^{l+1} at hidden layer i, gated by D_u^{l+1} where W is."""
        gated = "w" in circuit.gated
        # D_d = gate is the same gate as D_u: it acts once, where the neuron receives or where it sends.
        signal = h_bar[i] if gated and circuit.downstream_activation == "gate" else b[i]
        received = signal if circuit.one_to_one else send(synapses.v_bar[i], signal)
        return received * gates[i] if gated else received

    def dw(i):  # eq. (8)  ΔW^l = η_W (D_u^{l+1} V̄^l D_d^{l+1} h̄^{l+1}) (D_u^l h^l)ᵀ
        if i == len(hidden):
            return hebb(h_bar[i], a[i])  # V̄^{L-1} = I, no nonlinearity: the gradient itself
        return hebb(fed_back(i), a[i])

    def dw_bar(i):  # eq. (9)  ΔW̄^l = η_W̄ (D_d^l V^l D_u^l h^l) (D_d^{l+1} h̄^{l+1})ᵀ
        gate = _downstream_gate(circuit, h_bar[i]) if "w_bar" in circuit.gated else None
        if gate is None and not circuit.one_to_one:
            return hebb_through(synapses.v[i], a[i + 1], b[i + 1])
        received = a[i + 1] if circuit.one_to_one else send(synapses.v[i], a[i + 1])
        return hebb(received if gate is None else received * gate, b[i + 1])

    def dv(i):  # eq. (10)  ΔV^l = η_V (D_d^l h̄^l) (D_u^l h^l)ᵀ
        return hebb(b[i] if "v" in circuit.gated else h_bar[i], a[i + 1])

    def dv_bar(i):  # eq. (11)  ΔV̄^l = η_V̄ (D_u^{l+1} h^{l+1}) (D_d^{l+1} h̄^{l+1})ᵀ
        # Gated, it is the transpose of eq. (10), written so that XLA computes one product for both.
        return hebb(b[i], a[i + 1]).T if "v_bar" in circuit.gated else hebb(h[i + 1], b[i])

    directions = {
        pathway: tuple(map(rule, range(len(getattr(synapses, pathway)))))
        for pathway, rule in zip(PATHWAYS, (dw, dw_bar, dv, dv_bar), strict=True)
        if pathway in circuit.plastic
    }
    held = jax.tree.map(jnp.zeros_like, synapses)
    return jax.tree.map(jnp.negative, held._replace(**directions))


def _gates(circuit, h):
    """φ'(h) [B, d_l] of every hidden layer: D_u as a gate on what the neuron receives."""
    return tuple(derivative(circuit.phi, potential) for potential in h[1:-1])


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
