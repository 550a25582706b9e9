"""Angles, spectra and Theorem 3 against matrices and circuits whose values are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stepping import assert_close, batch
from stepping import synapses as random_synapses

import sam_jax as sj
from sam_jax import probes, training


@pytest.mark.parametrize(
    ("b", "degrees"), [([[2.0, 0.0]], 0.0), ([[0.0, 3.0]], 90.0), ([[-1.0, 0.0]], 180.0), ([[1.0, 1.0]], 45.0)]
)
def test_angle(b, degrees):
    np.testing.assert_allclose(probes.angle(jnp.array([[1.0, 0.0]]), jnp.array(b)), degrees, atol=0.03)


def test_feedback_equal_to_the_transpose_has_no_angle_and_its_own_scale():
    random = np.random.default_rng(0)
    w = tuple(jnp.asarray(random.normal(size=shape), jnp.float32) for shape in ((5, 7), (4, 5), (3, 4)))
    synapses = sj.Synapses(w=w, w_bar=tuple(2.5 * matrix.T for matrix in w[1:]))
    found = probes.alignment(synapses)
    assert set(found) == {"w_bar_angle", "w_bar_norm_ratio"}
    np.testing.assert_allclose(found["w_bar_angle"], [0, 0], atol=0.05)
    np.testing.assert_allclose(found["w_bar_norm_ratio"], [2.5, 2.5], rtol=1e-6)


def test_interstream_pathways_are_compared_and_unequal_widths_are_not():
    v = (jnp.eye(2, 3),)
    synapses = sj.Synapses(w=(jnp.ones((3, 4)), jnp.ones((5, 3))), w_bar=(jnp.ones((2, 5)),), v=v, v_bar=(-v[0].T,))
    found = probes.alignment(synapses)
    assert set(found) == {"v_angle"}  # W̄ is 2 x 5, Wᵀ 3 x 5
    np.testing.assert_allclose(found["v_angle"], [180.0], atol=0.05)


def test_a_rule_without_feedback_matrices_has_nothing_to_compare():
    assert probes.alignment(sj.Synapses(w=(jnp.ones((3, 4)), jnp.ones((2, 3))))) == {}


def orthogonal(width, seed=0):
    """A random rotation or reflection, float64."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


def with_spectrum(values, rows, columns):
    """A matrix [rows, columns] whose singular values are `values`."""
    middle = np.zeros((rows, columns))
    np.fill_diagonal(middle, values)
    return jnp.asarray(orthogonal(rows, 1) @ middle @ orthogonal(columns, 2))


@pytest.mark.parametrize(
    ("values", "rank"),
    [
        ([1.0] * 5, 5.0),
        ([3.0, 3.0, 0.0, 0.0, 0.0], 2.0),
        ([7.0, 0.0, 0.0, 0.0, 0.0], 1.0),
        ([2.0, 1.0, 1.0, 0.0, 0.0], 8**0.5),  # shares 1/2, 1/4, 1/4: entropy ln 2 / 2 + ln 4 / 2
        ([0.75, 0.25, 0.0, 0.0, 0.0], 4 / 3**0.75),  # entropy ln 4 - 3/4 ln 3
    ],
)
def test_effective_rank(float64, values, rank):
    for matrix in (with_spectrum(values, 5, 7), with_spectrum(values, 7, 5)):
        np.testing.assert_allclose(probes.spectrum(matrix), values, atol=1e-13)
        np.testing.assert_allclose(probes.effective_rank(matrix), rank, rtol=1e-11)
        np.testing.assert_allclose(probes.effective_rank(-9 * matrix), rank, rtol=1e-11)  # of shape, not of scale


def test_effective_rank_counts_exact_zeros_as_nothing():
    np.testing.assert_allclose(probes.effective_rank(jnp.eye(6)), 6.0, rtol=1e-6)
    np.testing.assert_allclose(probes.effective_rank(jnp.diag(jnp.array([0.0, 4.0, 0.0]))), 1.0, rtol=1e-6)
    assert np.isnan(probes.effective_rank(jnp.zeros((2, 2))))


def test_conditioning_of_a_preconditioner_with_known_eigenvalues(float64):
    # H's eigenvalues: 4, 1, 1 where the downstream layer is wider; 9, 9, 0, 0 where it is narrower.
    v_bar = (with_spectrum([2.0, 1.0, 1.0], 3, 5), with_spectrum([3.0, 3.0], 4, 2))
    found = probes.conditioning(sj.Synapses(v_bar=v_bar))
    np.testing.assert_allclose(found["h_trace_mean"], [2.0, 4.5], rtol=1e-12)
    np.testing.assert_allclose(found["h_top"], [4.0, 9.0], rtol=1e-12)
    # Shares 2/3, 1/6, 1/6: exp entropy = (3/2)^(2/3) 6^(1/3).
    np.testing.assert_allclose(found["h_effective_rank"], [1.5 ** (2 / 3) * 6 ** (1 / 3), 2.0], rtol=1e-12)
    np.testing.assert_allclose(found["h_condition"], [4.0, np.inf], rtol=1e-12)
    for h, matrix in zip(probes.preconditioner(sj.Synapses(v_bar=v_bar)), v_bar, strict=True):
        matrix = np.asarray(matrix)
        expected = [[row @ other for other in matrix] for row in matrix]  # its definition, entry by entry
        np.testing.assert_allclose(h, expected, atol=1e-13)


@pytest.mark.parametrize("probe", [probes.preconditioner, probes.conditioning])
def test_a_circuit_without_v_bar_has_no_preconditioner(probe):
    synapses = random_synapses(sj.kp((4, 3, 2)))
    with pytest.raises(ValueError, match="no v_bar"):
        probe(synapses)
    with pytest.raises(ValueError, match="no v_bar"):
        probes.against_gradient(sj.kp((4, 3, 2)), synapses, *batch(sj.kp((4, 3, 2))), sj.losses.cross_entropy)


def test_the_misfit_is_that_of_its_definition_written_out(float64):
    """Theorem 3's premise, example by example; 0 where W̄ meets it, whatever the widths of the streams."""
    circuit = sj.sam((4, 5, 3, 3), (7, 6))
    synapses = random_synapses(circuit)
    x, _ = batch(circuit, examples=6)
    w, w_bar, v, v_bar = (list(map(np.asarray, matrices)) for matrices in synapses)
    below, expected = np.asarray(x), []
    for i in range(2):
        h = below @ w[i].T
        above = v_bar[1].T if i == 0 else np.eye(3)
        apart = whole = 0.0
        for example in h:
            left = v[i] @ np.diag(example > 0) @ w[i + 1].T
            apart += np.sum((left - w_bar[i] @ above) ** 2)
            whole += np.sum(left**2)
        expected.append(np.sqrt(apart / whole))
        below = np.maximum(h, 0)
    np.testing.assert_allclose(probes.misfit(circuit, synapses, x), expected, rtol=1e-12)


def test_the_misfit_is_nothing_where_the_premise_is_met(float64):
    circuit, synapses = linear_circuit()
    found = probes.misfit(circuit, synapses, jnp.ones((3, 4)))
    np.testing.assert_allclose(found, [0.0, 0.0], atol=1e-12)


def test_a_circuit_that_lacks_what_the_premise_is_of_is_refused():
    for circuit, lack in ((sj.kp((4, 3, 2)), "no v, v_bar"), (sj.sam((4, 3, 2), downstream_activation="gate"), "gate")):
        with pytest.raises(ValueError, match=lack):
            probes.misfit(circuit, random_synapses(circuit), jnp.ones((2, 4)))


@pytest.mark.parametrize(("rule", "hidden"), [("sgd", 1.0), ("kp", 1.0), ("sam", 1.0), ("fa", None)])
def test_the_cosine_with_the_gradient(float64, rule, hidden):
    """1 where a rule's feedback is the transpose, scaled: kp's W̄ = 2 Wᵀ, a linear sam's V = V̄ = I and W̄ = Wᵀ."""
    circuit = sj.RULES[rule]((4, 3, 3, 2), activation="linear" if rule == "sam" else "relu")
    synapses = random_synapses(circuit)
    if rule in ("kp", "sam"):
        synapses = synapses._replace(w_bar=tuple((2 if rule == "kp" else 1) * m.T for m in synapses.w[1:]))
    if rule == "sam":
        synapses = synapses._replace(v=(jnp.eye(3),) * 2, v_bar=(jnp.eye(3),) * 2)
    protocol = training.Protocol(sj.RULES[rule].functions, circuit, sj.losses.cross_entropy, 5, 1)
    numbers, (x, labels) = sj.RULES[rule].settle(), batch(circuit)
    state = sj.State(synapses, sj.Activity(), ())
    found = probes.gradient_cosine(protocol, numbers, state, x, labels, jax.random.key(0))
    if hidden is not None:
        np.testing.assert_allclose(found, [hidden] * 3, rtol=1e-10)
    else:

        def loss(w):
            h = x
            for matrix in w[:-1]:
                h = jax.nn.relu(h @ matrix.T)
            return sj.losses.cross_entropy.value(h @ w[-1].T, labels).mean()

        theirs = jax.grad(loss)(synapses.w)
        seen = sj.forward(circuit, sj.State(synapses), x)
        seen = sj.feedback(circuit, seen, sj.losses.cross_entropy.error(seen.activity.h[-1], labels))
        ours = sj.local_update(circuit, seen).w
        cosines = [np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(ours, theirs, strict=True)]
        np.testing.assert_allclose(found, cosines, rtol=1e-10)
        assert cosines[0] < 0.99 and np.isclose(cosines[-1], 1)


def test_norms_and_change_are_those_of_the_stored_pathways():
    before = sj.Synapses(w=(jnp.ones((2, 8)), jnp.zeros((3, 2))), w_bar=(jnp.full((2, 3), -2.0),))
    after = before._replace(w=(jnp.ones((2, 8)), jnp.full((3, 2), 5.0)))
    norms, moved = probes.pathway_norms(before), probes.change(before, after)
    assert (set(norms), set(moved)) == ({"w_norm", "w_bar_norm"}, {"w_change", "w_bar_change"})
    np.testing.assert_allclose(norms["w_norm"], [4.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose(norms["w_bar_norm"], [24**0.5], rtol=1e-6)
    np.testing.assert_allclose(moved["w_change"], [0.0, 150**0.5], rtol=1e-6)
    np.testing.assert_allclose(moved["w_bar_change"], [0.0])


# Theorem 3. W̄^l = V^l D_u^l (W^l)ᵀ ((V̄^l)ᵀ)⁺, eq. (27) solved for W̄, makes h̄^l = V^l D_u^l g exactly, g being
# the error that backpropagation brings to the layer; with V^l = (V̄^{l-1})ᵀ that is the theorem without its O(ε).

WIDTHS, WIDE = (4, 5, 3, 3), (7, 6)


def assembled(w, v_bar, gates):
    """Synapses that meet the theorem's premises where D_u is diag(gates[i]) for every example."""
    w, v_bar = [np.asarray(m) for m in w], [np.asarray(m) for m in v_bar]
    above = [*(np.linalg.pinv(m.T) for m in v_bar[1:]), np.eye(len(w[-1]))]  # V̄^{L-1} = I
    w_bar = [v_bar[i].T @ np.diag(gates[i]) @ w[i + 1].T @ above[i] for i in range(len(v_bar))]
    return jax.tree.map(jnp.asarray, sj.Synapses(tuple(w), tuple(w_bar), tuple(m.T for m in v_bar), tuple(v_bar)))


def linear_circuit():
    circuit = sj.sam(WIDTHS, WIDE, activation="linear")
    start = random_synapses(circuit)
    return circuit, assembled(start.w, start.v_bar, [np.ones(5), np.ones(3)])


def compare(circuit, synapses, loss="cross_entropy", examples=6, **options):
    return probes.against_gradient(
        circuit, synapses, *batch(circuit, loss, examples), sj.losses.LOSSES[loss], **options
    )


@pytest.mark.parametrize("loss", sj.losses.LOSSES)
def test_theorem_3_is_exact_in_an_assembled_linear_circuit(float64, loss):
    circuit, synapses = linear_circuit()
    found = compare(circuit, synapses, loss)
    assert {name: values.shape for name, values in found.items()} == dict.fromkeys(found, (2,))
    for form in ("theorem", "gated"):  # D_u = I: eq. (12) and eq. (40) are one
        np.testing.assert_allclose(found[f"{form}_cosine"], [1, 1], rtol=1e-12)
        np.testing.assert_allclose(found[f"{form}_error"], [0, 0], atol=1e-11)
    assert np.all(found["gradient_cosine"] < 0.99)  # H is not a multiple of I
    assert np.all(found["gradient_cosine"] > 0)  # and is positive definite


def test_with_orthogonal_interstream_matrices_sam_is_the_gradient(float64):
    circuit = sj.sam(WIDTHS, activation="linear")
    v_bar = [3 * orthogonal(5), 2 * orthogonal(3)]  # H = 9 I and 4 I
    found = compare(circuit, assembled(random_synapses(circuit).w, v_bar, [np.ones(5), np.ones(3)]))
    np.testing.assert_allclose(found["gradient_cosine"], [1, 1], rtol=1e-12)
    np.testing.assert_allclose(found["theorem_error"], [0, 0], atol=1e-11)


def test_for_one_example_through_relus_the_gated_form_is_exact_and_eq_12_is_not(float64):
    # One example has one D_u, so that eq. (27) can hold; eq. (12) then leaves out the outer D_u of eq. (40).
    circuit = sj.sam((4, 9, 8, 3), (12, 10))
    start = random_synapses(circuit, seed=3)
    x, _ = batch(circuit, examples=1)
    h = sj.forward(circuit, sj.State(start), x).activity.h
    gates = [np.asarray(potential[0] > 0, float) for potential in h[1:-1]]
    assert all(0 < gate.mean() < 1 for gate in gates)
    synapses = assembled(start.w, start.v_bar, gates)
    found = compare(circuit, synapses, examples=1)
    np.testing.assert_allclose(found["gated_cosine"], [1, 1], rtol=1e-12)
    np.testing.assert_allclose(found["gated_error"], [0, 0], atol=1e-11)
    # What is missing from D H g' are the rows of silent neurons: ΔW = D (H g'), a projection of it.
    assert np.all(found["theorem_error"] > 0.05)
    np.testing.assert_allclose(found["theorem_cosine"] ** 2 + found["theorem_error"] ** 2, [1, 1], rtol=1e-12)


def test_the_gated_form_is_the_average_over_examples(float64):
    # Each example's backpropagated error by autodiff, gated and preconditioned one at a time.
    circuit = sj.sam((4, 6, 5, 3), (8, 7), activation="tanh")
    synapses, (x, labels) = random_synapses(circuit), batch(circuit)
    state = sj.forward(circuit, sj.State(synapses), x)
    error = sj.losses.mse.error(state.activity.h[-1], labels)
    update = -sj.local_update(circuit, sj.feedback(circuit, state, error)).w[0]

    def loss_from(sent, label):
        y_hat = synapses.w[2] @ jnp.tanh(synapses.w[1] @ sent)
        return jnp.sum((y_hat - jax.nn.one_hot(label, 3)) ** 2)

    h_matrix, expected = np.asarray(synapses.v_bar[0] @ synapses.v_bar[0].T), 0.0
    for example, label in zip(x, labels, strict=True):
        potential = synapses.w[0] @ example
        gate = np.diag(1 - np.tanh(potential) ** 2)
        g = -jax.grad(loss_from)(jnp.tanh(potential), label)
        expected = expected + np.outer(gate @ h_matrix @ gate @ np.asarray(g), example) / len(x)
    found = probes.against_gradient(circuit, synapses, x, labels, sj.losses.mse)
    gap = np.linalg.norm(update - expected) / np.linalg.norm(expected)
    cosine = np.sum(update * expected) / (np.linalg.norm(update) * np.linalg.norm(expected))
    np.testing.assert_allclose([found["gated_error"][0], found["gated_cosine"][0]], [gap, cosine], rtol=1e-11)


def test_theorem_3_fails_by_known_amounts_where_its_premises_do(float64):
    circuit, synapses = linear_circuit()
    # V̄ no longer Vᵀ but twice it: ΔW = 2 V̄h̄ against H = 4 V̄V̄ᵀ, half of what the theorem says.
    doubled = synapses._replace(v_bar=tuple(2 * m for m in synapses.v_bar))
    found = compare(circuit, doubled)
    np.testing.assert_allclose(found["theorem_cosine"], [1, 1], rtol=1e-12)
    np.testing.assert_allclose(found["theorem_error"], [0.5, 0.5], rtol=1e-11)
    # The top W̄ turned round turns every h̄ round.
    turned = synapses._replace(w_bar=(synapses.w_bar[0], -synapses.w_bar[1]))
    found = compare(circuit, turned)
    np.testing.assert_allclose(found["theorem_cosine"], [-1, -1], rtol=1e-12)
    np.testing.assert_allclose(found["theorem_error"], [2, 2], rtol=1e-11)
    # And at random, before anything has assembled, nothing holds.
    assert np.all(compare(circuit, random_synapses(circuit))["theorem_error"] > 0.2)


def test_v_residual_is_zero_where_v_is_stationary(float64):
    circuit = sj.sam((4, 5, 3), (7,), activation="tanh")
    synapses, (x, labels) = random_synapses(circuit), batch(circuit)
    h = np.tanh(x @ synapses.w[0].T)
    h_bar = np.asarray(sj.losses.mse.error(h @ synapses.w[1].T, labels)) @ np.asarray(synapses.w_bar[0]).T
    correlation = h_bar.T @ h / len(x)
    for v, residual in ((correlation / 0.02, 0.0), (correlation / 0.01, 0.5), (-correlation / 0.02, 2.0)):
        found = compare(circuit, synapses._replace(v=(jnp.asarray(v),)), "mse", len(x), decay_over_rate_v=0.02)
        np.testing.assert_allclose(found["v_residual"], [residual], atol=1e-12)


def test_held_pathways_are_compared_alike(float64):
    circuit, synapses = linear_circuit()
    held = sj.sam(WIDTHS, WIDE, activation="linear", plastic=())
    assert_close(compare(held, synapses, decay_over_rate_v=0.1), compare(circuit, synapses, decay_over_rate_v=0.1))


@pytest.mark.slow
def test_every_probe_runs_under_jit_and_vmap():
    circuit = sj.sam((4, 6, 5, 3), (8, 7))
    runs = [random_synapses(circuit, seed) for seed in range(3)]
    x, labels = batch(circuit)

    def every(synapses):
        return {
            **probes.conditioning(synapses),
            **probes.pathway_norms(synapses),
            **probes.change(runs[0], synapses),
            **probes.against_gradient(circuit, synapses, x, labels, sj.losses.cross_entropy, 0.01),
        }

    together = jax.jit(jax.vmap(every))(jax.tree.map(lambda *m: jnp.stack(m), *runs))
    for run, synapses in enumerate(runs):
        alone = every(synapses)
        assert set(alone) == set(together)
        for name, values in alone.items():
            np.testing.assert_allclose(together[name][run], values, rtol=2e-4, atol=1e-5, err_msg=name)
