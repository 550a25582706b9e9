"""What every rule promises, in one table of tests; what a circuit refuses; Table 2, claimed and observed."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stepping import assert_close, batch, some, step
from stepping import synapses as random_synapses

import sam_jax as sj
from sam_jax import training
from sam_jax.circuit import PATHWAYS
from sam_jax.rules import CRITERIA

WIDTHS, EXAMPLES = (5, 7, 6, 3), 4
every_rule = pytest.mark.parametrize("rule", sj.RULES.values(), ids=sj.RULES)


def downstream_widths(rule):
    """Sizes of their own where the rule has downstream neurons of its own."""
    return (9, 4) if rule.name == "sam" else ()


def start(rule, circuit, seed=0):
    """Synapses as random as `random_synapses`, of the shapes that the rule's own `init` gives them."""
    random = np.random.default_rng(1000 + seed)
    own = jax.eval_shape(lambda: rule.init(circuit, jax.random.key(0), rule.settle())).synapses
    return jax.tree.map(lambda m: jnp.asarray(random.normal(size=m.shape) / m.shape[1] ** 0.5), own)


def direction(rule, circuit, synapses, x, labels):
    """The state after the rule's forward and feedback, and what it descends along."""
    loss = sj.losses.cross_entropy
    state = rule.forward(circuit, sj.State(synapses), x)
    y_hat = state.activity.h[-1]
    error, targets = loss.error(y_hat, labels), sj.losses.targets(y_hat, labels)
    teacher = sj.Teacher(error, targets, lambda other: loss.value(other, labels), jax.random.key(7))
    state = rule.feedback(circuit, state, teacher)
    return state, rule.local_update(circuit, state, jax.random.key(8), rule.settle())[0]


observe = jax.jit(direction, static_argnums=(0, 1))


def train(rule, circuit, synapses, key, numbers, steps):
    """The synapses after `steps` steps as training takes them, the rule's own phases included."""
    loss = sj.losses.cross_entropy
    protocol = training.Protocol(rule.functions, circuit, loss, EXAMPLES, epochs=1, schedule="constant")
    optimizer = training.make_optimizer(protocol, numbers, steps)

    def step(carry, inputs):
        n, *data = inputs
        *carry, _ = training.train_step(protocol, numbers, optimizer, *carry, *data, jax.random.fold_in(key, n))
        return tuple(carry), None

    batches = [batch(circuit, examples=EXAMPLES, seed=n) for n in range(steps)]
    carry, inputs = (
        (synapses, (), optimizer.init(synapses)),
        (jnp.arange(steps), *map(jnp.stack, zip(*batches, strict=True))),
    )
    return jax.lax.scan(step, carry, inputs)[0][0]


@functools.partial(jax.jit, static_argnums=(0, 1, 5))
def train_jit(rule, circuit, synapses, key, decay, steps):
    return train(rule, circuit, synapses, key, rule.settle({"decay": decay}), steps)


@every_rule
@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
def test_shapes_and_dtypes(rule, x64):
    with jax.enable_x64(x64):
        circuit = rule(WIDTHS, downstream_widths(rule))
        x, labels = batch(circuit, examples=EXAMPLES)
        synapses = jax.jit(rule.init, static_argnums=0)(circuit, jax.random.key(0), rule.settle()).synapses
        state, grads = observe(rule, circuit, synapses, x, labels)
        after = jax.eval_shape(
            lambda s, key: train(rule, circuit, s, key, rule.settle(), 1), synapses, jax.random.key(0)
        )
        shapes = circuit.shapes
        if rule.name in DIRECT:  # B_l [d_l, K] in place of W̄^l
            shapes = shapes._replace(w_bar=tuple((width, WIDTHS[-1]) for width in circuit.hidden_widths))
        for found in (synapses, grads, after):
            assert jax.tree.map(jnp.shape, found) == shapes
        assert [h.shape for h in state.activity.h] == [(EXAMPLES, width) for width in WIDTHS]
        # Node perturbation credits the output's neurons too; elsewhere the last h̄ is ε, of the same shape.
        down = circuit.downstream_widths + WIDTHS[-1:]
        assert [h_bar.shape for h_bar in state.activity.h_bar] == [(EXAMPLES, width) for width in down]
        expected = jnp.dtype("float64" if x64 else "float32")
        assert {leaf.dtype for leaf in jax.tree.leaves((state, grads, after))} == {expected}


@every_rule
def test_vmapped_runs_are_single_runs(rule, float64):
    circuit = rule((5, 7, 3))
    keys = jax.random.split(jax.random.key(0), 2)
    starts = [start(rule, circuit, seed) for seed in range(2)]
    run = jax.vmap(lambda synapses, key: train(rule, circuit, synapses, key, rule.settle({"decay": 0.1}), 2))
    together = jax.jit(run)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts), keys)
    for n in range(2):
        single = train_jit(rule, circuit, starts[n], keys[n], 0.1, 2)
        assert_close(jax.tree.map(lambda leaf, n=n: leaf[n], together), single)


@every_rule
def test_compiled_is_the_same_as_not_compiled(rule, float64):
    circuit = rule((4, 4, 4))  # one size, so that few operations are compiled singly
    synapses, data = start(rule, circuit), batch(circuit, examples=4)
    # Node perturbation divides a difference of losses by 2σ² = 2e-4: their rounding is magnified as much.
    tolerance = 1e-9 if rule is sj.node_perturbation else 1e-12
    assert_close(direction(rule, circuit, synapses, *data), observe(rule, circuit, synapses, *data), tolerance)


@every_rule
def test_numbers_are_traced(rule):
    # A new rate, decay, scale or seed is not a new program.
    circuit, compiled = rule((5, 7, 3)), 0

    @jax.jit
    def run(numbers, key):
        nonlocal compiled
        compiled += 1
        return train(rule, circuit, rule.init(circuit, key, numbers).synapses, key, numbers, 1)

    def numbers(n):
        optional = {"momentum": 0.5, "clip_norm": 1.0}
        given = {name: 0.1 * n + 0.01 * place for place, name in enumerate(rule.settle())}
        return given | {name: value * n for name, value in optional.items()}

    results = [run(numbers(n), jax.random.key(n)) for n in (1, 2)]
    assert compiled == 1
    assert jnp.abs(results[0].w[0] - results[1].w[0]).max() > 0


@every_rule
def test_defaults_cover_the_circuit(rule):
    circuit = rule(WIDTHS)
    assert sj.RULES[rule.name] is rule
    assert hash(circuit) == hash(rule(list(WIDTHS))) and circuit == rule(list(WIDTHS))
    numbers = rule.settle()
    for pathway in circuit.stored:
        assert numbers[f"scale_{pathway}"] > 0
    for pathway in circuit.plastic:
        assert numbers[f"rate_{pathway}"] > 0
    assert all(np.isfinite(value) and value >= 0 for value in numbers.values())
    assert rule(WIDTHS, activation="tanh").activation == "tanh"  # settings replace the rule's own


def test_rules_share_their_first_weights():
    # Same seed, same W, up to its scale: rules are compared from the same start, whatever else they store.
    starts = {}
    for name, rule in sj.RULES.items():
        numbers = rule.settle() | {name: 1.0 for name in ("scale_w", "scale_w_bar") if name in rule.numbers}
        starts[name] = rule.init(rule(WIDTHS, downstream_widths(rule)), jax.random.key(3), numbers).synapses
    for synapses in starts.values():
        assert_close(synapses.w, starts["sgd"].w, 0.0)
    for other in ("kp", "frsf", "brsf"):
        assert_close(starts[other].w_bar, starts["fa"].w_bar, 0.0)
    assert_close(starts["dkp"].w_bar, starts["dfa"].w_bar, 0.0)


DIRECT = ("dfa", "drtp", "dkp")
# The paper's Table 2: connectivity, then plasticity, of u→u, d→d, u→d, d→u. KP's row and those below SAM's are ours:
# feedback weights of the direct rules stand where W̄ does; brsf redraws its magnitudes, which is not learning.
TABLE_2 = {
    "sgd": "✓✗✗✗ ✓✗✗✗",
    "fa": "✓✓✗✗ ✓✗✗✗",
    "wm": "✓✓✗✗ ✓✓✗✗",
    "kp": "✓✓✗✗ ✓✓✗✗",
    "sam": "✓✓✓✓ ✓✓✓✓",
    "dfa": "✓✓✗✗ ✓✗✗✗",
    "dkp": "✓✓✗✗ ✓✓✗✗",
    "drtp": "✓✓✗✗ ✓✗✗✗",
    "usf": "✓✓✗✗ ✓✗✗✗",
    "frsf": "✓✓✗✗ ✓✗✗✗",
    "brsf": "✓✓✗✗ ✓✗✗✗",
    "node_perturbation": "✓✗✗✗ ✓✗✗✗",
}


def ticks(name):
    """{pathway: (connected, plastic)} as the table has it."""
    connectivity, plasticity = ([mark == "✓" for mark in half] for half in TABLE_2[name].split())
    return dict(zip(PATHWAYS, zip(connectivity, plasticity, strict=True), strict=True))


def test_table_2_is_the_papers():
    assert CRITERIA[:4] == ("connectivity u→u", "connectivity d→d", "connectivity u→d", "connectivity d→u")
    assert CRITERIA[4:] == ("plasticity u→u", "plasticity d→d", "plasticity u→d", "plasticity d→u")
    table = sj.compatibility_table()
    marks = {name: "".join("✓" if row[c] else "✗" for c in CRITERIA) for name, row in table.items()}
    assert marks == {name: row.replace(" ", "") for name, row in TABLE_2.items()}


@every_rule
def test_connected_pathways_carry_signal(rule):
    # A pathway is connected if cutting it changes the activity, or the update of another pathway.
    circuit = rule(WIDTHS, activation="tanh")
    synapses = start(rule, circuit)
    data = batch(circuit, examples=EXAMPLES)
    (_, activity, _), grads = observe(rule, circuit, synapses, *data)
    for pathway, (connected, _) in ticks(rule.name).items():
        matrices = getattr(synapses, pathway)
        assert len(matrices) == (0 if not connected else 3 if pathway == "w" else 2)
        for i in range(len(matrices)):  # each matrix by itself
            cut_here = tuple(jnp.zeros_like(m) if n == i else m for n, m in enumerate(matrices))
            (_, cut, _), cut_grads = observe(rule, circuit, synapses._replace(**{pathway: cut_here}), *data)
            own = {pathway: ()}
            with_it, without = (activity, grads._replace(**own)), (cut, cut_grads._replace(**own))
            differences = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max(), with_it, without)
            assert max(jax.tree.leaves(differences)) > 1e-3, (pathway, i)


@every_rule
def test_plastic_pathways_move_and_no_others(rule, float64):
    circuit = rule(WIDTHS, downstream_widths(rule))
    first = start(rule, circuit)
    redrawn = ("w_bar",) if rule is sj.brsf else ()
    for decay in (0.0, 0.1):  # learning alone moves what is plastic; even decay leaves the rest
        after = train_jit(rule, circuit, first, jax.random.key(0), decay, 2)
        for pathway, (_, plastic) in ticks(rule.name).items():
            plastic = plastic or pathway in redrawn
            for before, now in zip(getattr(first, pathway), getattr(after, pathway), strict=True):
                moved = np.abs(np.asarray(now) - np.asarray(before)).max()
                assert moved > 1e-4 if plastic else moved == 0.0, (pathway, moved)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"widths": (4,)}, "widths has 1 entries, expected at least 2"),
        ({"widths": (4, 3, 3, 2), "downstream_widths": (3,)}, "downstream_widths has 1 entries, expected 2"),
        ({"downstream_widths": (3, 3)}, "downstream_widths has 2 entries, expected 1"),
        ({"widths": (4, 0, 2)}, "a width is 0, expected a positive whole number"),
        ({"widths": (4, 3.0, 2)}, "a width is 3.0, expected a positive whole number"),
        ({"downstream_widths": (-1,)}, "a width is -1, expected a positive whole number"),
        ({"activation": "softmax"}, "activation is 'softmax', expected one of relu, leaky_relu, tanh, sigmoid, gelu"),
        ({"downstream_activation": "gelu"}, "downstream_activation is 'gelu', expected one of identity, gate, relu"),
        ({"feedback_weights": "free"}, "feedback_weights is 'free', expected one of tied, local"),
        ({"error_signal": "sum"}, "error_signal is 'sum', expected one of vector, mean, norm"),
        ({"plastic": ("w", "u")}, "plastic names 'u', expected a subset of w, w_bar, v, v_bar"),
        ({"one_to_one": True}, r"v cannot be plastic: .* \(one_to_one fixes V = V̄ = I\)"),
        ({"feedback_weights": "tied"}, r"w_bar cannot be plastic: .* \(W̄ is tied to Wᵀ\)"),
        ({"downstream_widths": (5,), "one_to_one": True, "plastic": ()}, r"one_to_one needs .* \(3,\), got \(5,\)"),
        ({"downstream_widths": (5,), "downstream_activation": "gate"}, r"'gate' needs .* \(3,\), got \(5,\)"),
        ({"downstream_widths": (5,), "feedback_weights": "tied", "plastic": ()}, "'tied' needs"),
        ({"gated": ("w", "u")}, "gated names 'u', expected a subset of w, w_bar, v, v_bar"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_what_a_circuit_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        sj.Circuit(**{"widths": (4, 3, 2), **settings})


def test_the_public_functions_keep_their_argument_names():
    """What research code calls by name: house rules of the library, so a rename here is a break there."""
    expected = {
        sj.init: ["circuit", "key", "numbers"],
        sj.forward: ["circuit", "state", "x"],
        sj.feedback: ["circuit", "state", "error"],
        sj.local_update: ["circuit", "state"],
        sj.rules.mirror.mirror: ["circuit", "state", "key", "numbers", "steps"],
        sj.plasticity.optimizer: ["numbers", "plastic", "schedule", "decay_times_rate"],
        sj.rule.init: ["circuit", "key", "numbers"],
        sj.rule.forward: ["circuit", "state", "x"],
        sj.rule.feedback: ["circuit", "state", "teacher"],
        sj.rule.local_update: ["circuit", "state", "key", "numbers"],
        sj.rule.after: ["circuit", "state", "key", "numbers"],
    }
    for function, names in expected.items():
        assert list(inspect.signature(function).parameters) == names
    assert sj.Synapses._fields == ("w", "w_bar", "v", "v_bar")


@pytest.mark.parametrize("rule", some(sj.rules.TABLE1, ("sam",)))
def test_a_whole_step_has_a_derivative(rule, float64):
    """d(loss after one step) / d(rate of w), by autodiff through all four functions and by a difference."""
    circuit = sj.RULES[rule]((6, 5, 4, 3), activation="tanh")
    x, labels = batch(circuit)
    before = random_synapses(circuit)

    def loss_after(rate):
        after = step(circuit, before, x, labels, sj.Synapses(rate, 0.1, 0.2, 0.3), 0.01)
        y_hat = sj.forward(circuit, sj.State(after), x).activity.h[-1]
        return sj.losses.cross_entropy.value(y_hat, labels).mean()

    difference = (loss_after(0.2 + 1e-5) - loss_after(0.2 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(loss_after)(0.2), difference, rtol=1e-7)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"scaled": ("rate_ww",)}, "rule x scales rate_ww, expected some of rate_w"),
        (
            {"space": {"rate_w": (0.1, 1.0), "decay_v/decay": (0.1, 1.0)}},
            "searches decay_v/decay, expected decay before",
        ),
    ],
)
def test_a_rule_that_a_search_could_not_use_is_refused(fields, line):
    with pytest.raises(ValueError, match=line):
        sj.sam.replace(name="x", **fields)
