"""What to look at inside a circuit: alignment of its pathways, H = V̄V̄ᵀ, and its update against the gradient.

Pure functions, to be jitted and vmapped at will. Shapes as in `circuit.py`.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.scipy.special import entr  # -p log p, 0 at 0

from sam_jax import training
from sam_jax.circuit import PATHWAYS, Circuit, State, Synapses
from sam_jax.connections import hebb
from sam_jax.dynamics import derivative, feedback, forward, local_update
from sam_jax.losses import Loss


def angle(a: jax.Array, b: jax.Array) -> jax.Array:
    """The angle between two arrays of one shape, taken as vectors, in degrees [0, 180].

    >>> import jax.numpy as jnp, sam_jax as sj
    >>> print(f"{sj.probes.angle(jnp.array([1.0, 0.0]), jnp.array([1.0, 1.0])):.1f}")
    45.0
    """
    cosine = jnp.vdot(a, b) / (jnp.linalg.norm(a) * jnp.linalg.norm(b))
    return jnp.degrees(jnp.arccos(jnp.clip(cosine, -1.0, 1.0)))


def alignment(synapses: Synapses) -> dict[str, jax.Array]:
    """Angles (degrees) and norm ratios between paired pathways, [hidden layers], input side first.

    `w_bar_angle` and `w_bar_norm_ratio` compare W̄ with Wᵀ where every W̄ is of that shape
    (Akrout et al. 2019); `v_angle` compares V with V̄ᵀ likewise (Lemma 1).

    >>> import jax.numpy as jnp, sam_jax as sj
    >>> synapses = sj.Synapses(w=(jnp.eye(2), jnp.array([[1.0, 0.0]])), w_bar=(jnp.array([[0.0], [2.0]]),))
    >>> {name: value.tolist() for name, value in sj.probes.alignment(synapses).items()}
    {'w_bar_angle': [90.0], 'w_bar_norm_ratio': [2.0]}
    """
    found = {}
    paired = list(zip(synapses.w_bar, [w.T for w in synapses.w[1:]], strict=False))
    if paired and all(w_bar.shape == transpose.shape for w_bar, transpose in paired):
        found["w_bar_angle"] = jnp.stack([angle(*pair) for pair in paired])
        norms = [jnp.linalg.norm(w_bar) / jnp.linalg.norm(transpose) for w_bar, transpose in paired]
        found["w_bar_norm_ratio"] = jnp.stack(norms)
    paired = list(zip(synapses.v, [v_bar.T for v_bar in synapses.v_bar], strict=False))
    if paired and all(v.shape == transpose.shape for v, transpose in paired):
        found["v_angle"] = jnp.stack([angle(*pair) for pair in paired])
    return found


def preconditioner(synapses: Synapses) -> tuple[jax.Array, ...]:
    """H = V̄V̄ᵀ [d_l, d_l] of each hidden layer: what multiplies the SGD update in eq. (4) and eq. (12).

    Raises:
      ValueError: the synapses hold no v_bar.

    >>> import jax.numpy as jnp, sam_jax as sj
    >>> sj.probes.preconditioner(sj.Synapses(v_bar=(jnp.array([[1.0, 1.0], [0.0, 2.0]]),)))[0].tolist()
    [[2.0, 2.0], [2.0, 4.0]]
    """
    return tuple(v_bar @ v_bar.T for v_bar in _v_bar(synapses))


def spectrum(matrix: jax.Array) -> jax.Array:
    """Singular values of a matrix [m, n], largest first, [min(m, n)].

    >>> import jax.numpy as jnp, sam_jax as sj
    >>> values = sj.probes.spectrum(jnp.array([[0.0, 3.0, 0.0], [4.0, 0.0, 0.0]]))
    >>> [round(value) for value in values.tolist()]
    [4, 3]
    """
    return jnp.linalg.svd(matrix, compute_uv=False)


def effective_rank(matrix: jax.Array) -> jax.Array:
    """exp of the entropy (nats) of the singular values scaled to sum to 1, from 1 to the rank (Roy & Vetterli 2007).

    NaN for a matrix of zeros.

    >>> import jax.numpy as jnp, sam_jax as sj
    >>> print(f"{sj.probes.effective_rank(jnp.eye(3)):.3f} {sj.probes.effective_rank(jnp.ones((3, 3))):.3f}")
    3.000 1.000
    """
    return _effective_number(spectrum(matrix))


def conditioning(synapses: Synapses) -> dict[str, jax.Array]:
    """What H = V̄V̄ᵀ does to a learning rate, [hidden layers], input side first.

    `h_trace_mean` is its mean eigenvalue, trace / d_l; `h_top` the largest; `h_effective_rank` as in
    `effective_rank`; `h_condition` the largest eigenvalue over the smallest, inf where d̄_l < d_l makes
    H singular. All from the singular values of V̄, whose squares are H's eigenvalues.

    Raises:
      ValueError: the synapses hold no v_bar.

    >>> import jax.numpy as jnp, sam_jax as sj
    >>> found = sj.probes.conditioning(sj.Synapses(v_bar=(jnp.diag(jnp.array([1.0, 2.0])),)))  # eigenvalues 1 and 4
    >>> {name: round(found[name].item(), 3) for name in ("h_trace_mean", "h_top", "h_condition")}
    {'h_trace_mean': 2.5, 'h_top': 4.0, 'h_condition': 4.0}
    """

    def measures(v_bar):
        width, downstream_width = v_bar.shape
        eigenvalues = spectrum(v_bar) ** 2
        return {
            "h_trace_mean": eigenvalues.sum() / width,
            "h_top": eigenvalues[0],
            "h_effective_rank": _effective_number(eigenvalues),
            "h_condition": jnp.where(downstream_width < width, jnp.inf, eigenvalues[0] / eigenvalues[-1]),
        }

    return _stack(map(measures, _v_bar(synapses)))


def pathway_norms(synapses: Synapses) -> dict[str, jax.Array]:
    """The Frobenius norm of every matrix: `w_norm` [entries of w], and so on for the stored pathways.

    >>> import jax.numpy as jnp, sam_jax as sj
    >>> sj.probes.pathway_norms(sj.Synapses(w=(jnp.array([[3.0, 4.0]]),)))["w_norm"].tolist()
    [5.0]
    """
    return {f"{pathway}_norm": norms for pathway, norms in _norms(synapses).items()}


def change(before: Synapses, after: Synapses) -> dict[str, jax.Array]:
    """How far every matrix has moved, ‖after - before‖_F: `w_change` [entries of w], and so on.

    >>> import jax.numpy as jnp, sam_jax as sj
    >>> before, after = sj.Synapses(w=(jnp.ones((1, 2)),)), sj.Synapses(w=(jnp.array([[4.0, 5.0]]),))
    >>> sj.probes.change(before, after)["w_change"].tolist()
    [5.0]
    """
    moved = jax.tree.map(jnp.subtract, after, before)
    return {f"{pathway}_change": norms for pathway, norms in _norms(moved).items()}


def against_gradient(
    circuit: Circuit,
    synapses: Synapses,
    x: jax.Array,
    labels: jax.Array,
    loss: Loss,
    decay_over_rate_v: jax.Array | float | None = None,
) -> dict[str, jax.Array]:
    """Theorem 3 on a batch: the circuit's ΔW against SGD's on the same W, [hidden layers], input side first.

    Compares ΔW^l, l = 1..L-2, without rate and decay (the top W gets the gradient under every rule):
    `gradient_cosine` with ΔW_SGD itself; `theorem_cosine` with H ΔW_SGD, H = V̄^l(V̄^l)ᵀ, eq. (12) and (22);
    `gated_cosine` with eq. (40), the batch average of (D H D g)(D h)ᵀ, where D g (D h)ᵀ averages to
    ΔW_SGD. The proof arrives at eq. (40); eq. (12) leaves out its first D. `theorem_error` and
    `gated_error` are ‖ΔW - that‖ / ‖that‖.

    Args:
      circuit: one that stores v_bar; pathways that it holds fixed do not matter here.
      synapses: its matrices.
      x: [B, d_1].
      labels: as `loss` takes them.
      loss: one of `losses.LOSSES`.
      decay_over_rate_v: γ/η_V. Given, `v_residual` says how far V is from the theorem's premise that
        eq. (10) is zero on this batch: ‖mean (D_d h̄)(D_u h)ᵀ - γ/η_V V‖ / ‖γ/η_V V‖.

    Raises:
      ValueError: the synapses hold no v_bar.

    >>> import jax, jax.numpy as jnp, sam_jax as sj
    >>> circuit = sj.sam((4, 3, 2), activation="linear")
    >>> synapses = sj.init(circuit, jax.random.key(0)).synapses
    >>> synapses = synapses._replace(w_bar=(synapses.w[1].T,), v_bar=(2 * jnp.eye(3),))  # H = 4 I
    >>> x, labels = jnp.eye(4), jnp.array([0, 1, 0, 1])
    >>> found = sj.probes.against_gradient(circuit, synapses, x, labels, sj.losses.cross_entropy)
    >>> round(found["gradient_cosine"].item(), 4), round(found["theorem_error"].item(), 4)  # ΔW is 2 ΔW_SGD
    (1.0, 0.5)
    """
    preconditioners = preconditioner(synapses)
    # ΔV is wanted even where V is held, and ΔW̄ is not.
    _, updates = _update(dataclasses.replace(circuit, plastic=("w", "v")), synapses, x, labels, loss)
    state, gradients = _update(backprop(circuit), Synapses(w=synapses.w), x, labels, loss)
    layers = []
    for i, h in enumerate(preconditioners):
        expected = _theorem_steps(circuit, state, gradients, h, i)
        found = {}
        for name, step in expected.items():
            found[f"{name}_cosine"] = _cosine(-updates.w[i], step)
            if name != "gradient":
                found[f"{name}_error"] = _relative(-updates.w[i], step)
        if decay_over_rate_v is not None:
            found["v_residual"] = _relative(-updates.v[i], decay_over_rate_v * synapses.v[i])
        layers.append(found)
    return _stack(layers)


def gradient_cosine(
    protocol: training.Protocol, numbers: Mapping, state: State, x: jax.Array, labels: jax.Array, key: jax.Array
) -> jax.Array:
    """The cosine of a rule's ΔW with the gradient's step on the same batch and the same W, [entries of w].

    Args:
      protocol: its rule, circuit and loss.
      numbers: the rule's.
      state: its synapses and its rule's memory.
      x: [B, d_1].
      labels: as the loss takes them.
      key: of the step, for rules that draw.

    >>> import jax, jax.numpy as jnp, sam_jax as sj
    >>> protocol = sj.training.Protocol(sj.fa.functions, sj.fa((4, 3, 2)), sj.losses.mse, batch_size=2, epochs=1)
    >>> state = sj.init(protocol.circuit, jax.random.key(0))
    >>> given = (sj.fa.settle(), state, jnp.eye(2, 4), jnp.array([0, 1]), jax.random.key(1))
    >>> sj.probes.gradient_cosine(protocol, *given)[-1].round(4).item()  # the top W has ε itself
    1.0
    """
    seen, _ = training.taught(protocol, state.synapses, state.memory, x, labels, key)
    updates, _ = protocol.rule.local_update(protocol.circuit, seen, jax.random.fold_in(key, 2), numbers)
    w = Synapses(w=state.synapses.w)
    _, gradients = _update(backprop(protocol.circuit), w, x, labels, protocol.loss)
    return jnp.stack([_cosine(ours, theirs) for ours, theirs in zip(updates.w, gradients.w, strict=True)])


def misfit(circuit: Circuit, synapses: Synapses, x: jax.Array) -> jax.Array:
    """How far a batch is from Theorem 3's premise V D_u Wᵀ = W̄ V̄ᵀ: their difference over the left, [hidden layers].

    Norms are Frobenius', as roots of mean squares over the batch; the output's V̄ is I, and D_d = I. It is 1 where
    W̄ is 0. The authors log the same quantity (as E_p).

    Args:
      circuit: one with all four pathways.
      synapses: its matrices.
      x: [B, d_1].

    Raises:
      ValueError: the synapses lack a pathway, or D_d is not I.

    >>> import jax, jax.numpy as jnp, sam_jax as sj
    >>> circuit = sj.sam((4, 3, 2), activation="linear")
    >>> start = sj.init(circuit, jax.random.key(0)).synapses
    >>> meets = start._replace(w_bar=(start.v[0] @ start.w[1].T,))
    >>> halved = start._replace(w_bar=(0.5 * meets.w_bar[0],))
    >>> [sj.probes.misfit(circuit, one, jnp.eye(4)).round(4).tolist() for one in (meets, halved)]
    [[0.0], [0.5]]
    """
    missing = [pathway for pathway in PATHWAYS if not getattr(synapses, pathway)]
    if missing or circuit.downstream_activation != "identity":
        lack = f"no {', '.join(missing)}" if missing else f"downstream_activation {circuit.downstream_activation}"
        raise ValueError(f"misfit found {lack}: expected all four pathways, and D_d = I")
    potentials = forward(circuit, State(synapses), x).activity.h
    layers = []
    for i, (v, w_bar, w) in enumerate(zip(synapses.v, synapses.w_bar, synapses.w[1:], strict=True)):
        received = w_bar @ synapses.v_bar[i + 1].T if i + 1 < len(synapses.v_bar) else w_bar

        def squares(gate, v=v, w=w, received=received):
            carried = (v * gate[None]) @ w.T
            return ((carried - received) ** 2).sum(), (carried**2).sum()

        apart, whole = jax.lax.map(squares, derivative(circuit.phi, potentials[i + 1]))
        layers.append(jnp.sqrt(apart.sum() / whole.sum()))
    return jnp.stack(layers)


def backprop(circuit: Circuit) -> Circuit:
    """The circuit whose `local_update` is the gradient of W, on the same upstream layers.

    >>> import sam_jax as sj
    >>> sj.probes.backprop(sj.sam((4, 3, 2))) == sj.sgd((4, 3, 2))
    True
    """
    return Circuit(
        circuit.widths,
        activation=circuit.activation,
        one_to_one=True,
        downstream_activation="gate",
        feedback_weights="tied",
        plastic=("w",),
    )


def _theorem_steps(circuit, state, gradients, h, i):
    """ΔW of hidden layer i as SGD has it, as eq. (12) and as eq. (40) have it, with the preconditioner h."""
    potentials, g = state.activity  # g: -∂F/∂(D h), of backprop's W̄ = Wᵀ
    sent = potentials[0] if i == 0 else circuit.phi(potentials[i])
    gate = derivative(circuit.phi, potentials[i + 1])
    gated = gate * ((gate * g[i]) @ h)  # h is symmetric
    return {"gradient": -gradients.w[i], "theorem": h @ -gradients.w[i], "gated": hebb(gated, sent)}


def _v_bar(synapses):
    if not synapses.v_bar:
        raise ValueError("the synapses hold no v_bar, which H = V̄V̄ᵀ is made of: expected one for each hidden layer")
    return synapses.v_bar


def _effective_number(values):
    return jnp.exp(entr(values / values.sum()).sum())


def _norms(synapses):
    held = {pathway: matrices for pathway, matrices in synapses._asdict().items() if matrices}
    return {pathway: jnp.stack([*map(jnp.linalg.norm, matrices)]) for pathway, matrices in held.items()}


def _update(circuit, synapses, x, labels, loss):
    """The state that forward and feedback leave, and what it descends along."""
    state = forward(circuit, State(synapses), x)
    state = feedback(circuit, state, loss.error(state.activity.h[-1], labels))
    return state, local_update(circuit, state)


def _cosine(a, b):
    return jnp.vdot(a, b) / (jnp.linalg.norm(a) * jnp.linalg.norm(b))


def _relative(actual, expected):
    return jnp.linalg.norm(actual - expected) / jnp.linalg.norm(expected)


def _stack(layers):
    """One dict for each layer -> one dict of [layers] arrays."""
    return jax.tree.map(lambda *values: jnp.stack(values), *layers)
