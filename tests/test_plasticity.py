"""The optimizer: ΔM = s(t) (η_M · direction - γ M), against optax and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from stepping import assert_close, numbers
from stepping import synapses as random_synapses

import sam_jax as sj
from sam_jax.circuit import PATHWAYS

CIRCUIT = sj.sam((4, 6, 5, 3), (8, 2))
RATES = sj.Synapses(0.1, 0.2, 0.03, 0.7)
# Of float64 numbers of order 1: η direction and γ M are rounded before they are added.
ROUNDING = 1e-14

pytestmark = pytest.mark.usefixtures("float64")


def run(optimizer, steps=3):
    """The synapses after `steps` directions that do not depend on them, and the optimizer's state."""
    synapses = random_synapses(CIRCUIT)
    state = optimizer.init(synapses)
    for n in range(steps):
        updates, state = optimizer.update(random_synapses(CIRCUIT, seed=1 + n), state, synapses)
        synapses = optax.apply_updates(synapses, updates)
    return synapses, state


def by_hand(rates, decays, factors=(1.0, 1.0, 1.0), plastic=PATHWAYS):
    """The same by the formula, a pathway at a time, directions being descent directions."""
    after = random_synapses(CIRCUIT)._asdict()
    for n, s in enumerate(factors):
        descent = random_synapses(CIRCUIT, seed=1 + n)._asdict()
        for pathway in plastic:
            after[pathway] = tuple(
                np.asarray(m) + s * (rates[pathway] * -np.asarray(d) - decays[pathway] * np.asarray(m))
                for m, d in zip(after[pathway], descent[pathway], strict=True)
            )
    return sj.Synapses(**after)


def uniform(number):
    return dict.fromkeys(PATHWAYS, number)


def test_equal_rates_without_decay_are_optax_sgd():
    def schedule(step):
        return jnp.array([1.0, 0.5, 0.125])[step]

    ours, _ = run(sj.plasticity.optimizer(numbers(sj.Synapses(0.1, 0.1, 0.1, 0.1)), schedule=schedule))
    theirs, _ = run(optax.sgd(lambda step: 0.1 * schedule(step)))
    assert_close(ours, theirs, ROUNDING)


def test_each_pathway_has_its_rate_and_all_share_the_decay():
    after, _ = run(sj.plasticity.optimizer(numbers(RATES, 0.05)))
    assert_close(after, by_hand(RATES._asdict(), uniform(0.05)), ROUNDING)


def test_the_schedule_scales_rate_and_decay_alike():
    factors = (1.0, 0.5, 0.125)
    schedule = lambda step: jnp.asarray(factors)[step]  # noqa: E731
    after, _ = run(sj.plasticity.optimizer(numbers(RATES, 0.05), schedule=schedule))
    assert_close(after, by_hand(RATES._asdict(), uniform(0.05), factors), ROUNDING)


def test_decay_times_rate_is_equation_2():
    # ΔM = η (direction - γ M), which is also weight decay ahead of SGD in optax, one pathway at a time.
    after, _ = run(sj.plasticity.optimizer(numbers(RATES, 0.05), decay_times_rate=True))
    assert_close(after, by_hand(RATES._asdict(), {p: 0.05 * r for p, r in RATES._asdict().items()}), ROUNDING)
    same = sj.Synapses(0.1, 0.1, 0.1, 0.1)
    ours, _ = run(sj.plasticity.optimizer(numbers(same, 0.05), decay_times_rate=True))
    theirs, _ = run(optax.chain(optax.add_decayed_weights(0.05), optax.sgd(0.1)))
    assert_close(ours, theirs, ROUNDING)


def test_decay_alone_shrinks_by_one_minus_gamma():
    optimizer = sj.plasticity.optimizer(numbers(sj.Synapses(0.0, 0.0, 0.0, 0.0), 0.05))
    after, _ = run(optimizer, steps=3)
    assert_close(after, jax.tree.map(lambda m: 0.95**3 * m, random_synapses(CIRCUIT)), ROUNDING)


@pytest.mark.parametrize("plastic", [(), ("w",), ("w_bar", "v"), ("v_bar",)], ids=str)
def test_the_other_pathways_neither_learn_nor_decay(plastic):
    after, _ = run(sj.plasticity.optimizer(numbers(RATES, 0.05), plastic=plastic))
    before = random_synapses(CIRCUIT)
    for pathway in set(PATHWAYS) - set(plastic):
        assert_close(getattr(after, pathway), getattr(before, pathway), 0.0)
    assert_close(after, by_hand(RATES._asdict(), uniform(0.05), plastic=plastic), ROUNDING)


def test_the_schedule_is_asked_for_each_step_in_turn():
    seen = []
    run(sj.plasticity.optimizer(numbers(RATES), schedule=lambda step: seen.append(int(step)) or 1.0))
    assert seen == [0, 1, 2]


def test_momentum_and_clipping_are_optax_where_all_rates_are_alike():
    same = sj.Synapses(0.1, 0.1, 0.1, 0.1)
    ours, _ = run(sj.plasticity.optimizer(numbers(same, clip_norm=2.0, momentum=0.9)))

    def clip(gradients, params):  # PyTorch's: c / (norm + 1e-6)
        norm = np.sqrt(sum(np.square(np.asarray(g)).sum() for g in jax.tree.leaves(gradients)))
        return jax.tree.map(lambda g: g * min(1.0, 2.0 / (norm + 1e-6)), gradients)

    theirs, _ = run(optax.chain(optax.stateless(clip), optax.sgd(0.1, momentum=0.9)))
    assert_close(ours, theirs, ROUNDING)
    unclipped, _ = run(optax.sgd(0.1, momentum=0.9))
    assert any(np.abs(a - b).max() > 0.01 for a, b in zip(ours.w, unclipped.w, strict=True))  # it does cut


def test_a_pathway_may_have_a_decay_of_its_own():
    after, _ = run(sj.plasticity.optimizer(numbers(RATES, 0.05, decay_v=0.2)))
    assert_close(after, by_hand(RATES._asdict(), uniform(0.05) | {"v": 0.2}), ROUNDING)


def test_rates_and_decay_may_be_traced():
    compiled = 0

    @jax.jit
    def step(rates, decay):
        nonlocal compiled
        compiled += 1
        optimizer = sj.plasticity.optimizer(numbers(rates, decay))
        synapses = random_synapses(CIRCUIT)
        return optimizer.update(random_synapses(CIRCUIT, seed=1), optimizer.init(synapses), synapses)[0]

    for factor in (1.0, 2.0):
        rates = sj.Synapses(*(factor * r for r in RATES))
        after = jax.tree.map(jnp.add, random_synapses(CIRCUIT), step(rates, 0.05))
        assert_close(after, by_hand(rates._asdict(), uniform(0.05), factors=(1.0,)), ROUNDING)
    assert compiled == 1


def test_traced_rates_keep_the_synapses_dtype():
    synapses = jax.tree.map(lambda m: m.astype(jnp.float32), random_synapses(CIRCUIT))
    rates = sj.Synapses(*map(jnp.float64, RATES))
    optimizer = sj.plasticity.optimizer(numbers(rates, jnp.float64(0.05)), schedule=lambda step: jnp.float64(0.5))
    updates, _ = optimizer.update(synapses, optimizer.init(synapses), synapses)
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype("float32")}


def test_what_it_refuses():
    with pytest.raises(ValueError, match="plastic names 'u', expected a subset of w, w_bar, v, v_bar"):
        sj.plasticity.optimizer(numbers(RATES), plastic=("w", "u"))
    optimizer, synapses = sj.plasticity.optimizer(numbers(RATES)), random_synapses(CIRCUIT)
    with pytest.raises(ValueError, match="params"):
        optimizer.update(synapses, optimizer.init(synapses))


def test_update_takes_params_by_optaxs_own_name():
    m = sj.Synapses(w=(jnp.ones((2, 3)),))
    optimizer = sj.plasticity.optimizer(numbers(sj.Synapses(0.5, 0.0, 0.0, 0.0), 0.1))
    updates, _ = optimizer.update(m, optimizer.init(m), params=m)
    np.testing.assert_allclose(updates.w[0], -0.6)  # -(0.5 * 1 + 0.1 * 1)
