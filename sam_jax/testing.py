"""`check(rule)`: what every rule promises to the training loop, for ours and for yours.

def test_my_rule():
    sj.testing.check(my_rule)
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sam_jax import dynamics, losses, training
from sam_jax.circuit import State, Synapses
from sam_jax.inputs import Data, Split
from sam_jax.rule import Rule, Teacher

WIDTHS = (12, 10, 9, 4)
BATCH = 16


def check(rule: Rule, *, learns: bool = True) -> None:
    """Tries a rule on small circuits, in a few seconds, and says the first promise that it breaks.

    Checked, in this order: its numbers are numbers, and what it scales is among them; equal seeds draw
    equal circuits, and W as every rule does; each function leaves the shapes and types that it must, and
    what is not its own as it was; nothing is random but by the key; the compiled and the mapped function
    give what the plain one gives; `memory` keeps its shapes; and, unless `learns` is False, its default
    numbers bring the training loss of an easy problem down by 3 % in 60 epochs.

    Raises:
      ValueError: one line, what was found and what was expected.

    >>> import sam_jax as sj
    >>> sj.testing.check(sj.fa.replace(numbers={"scale_w": 1.0}, space={}))
    Traceback (most recent call last):
    ValueError: rule fa: its numbers are scale_w; expected rate_w among them
    """
    _check_numbers(rule)
    _check_start(rule)
    _check_step(rule)
    if learns:
        _check_learning(rule)


def _expect(rule: Rule, holds, found: str, expected: str) -> None:
    if not holds:
        raise ValueError(f"rule {rule.name}: {found}; expected {expected}")


def _check_numbers(rule):
    for name, value in rule.numbers.items():
        known = isinstance(value, int | float) and np.isfinite(value)
        _expect(rule, known, f"its number {name} is {value!r}", "a finite number")
    _expect(rule, "rate_w" in rule.numbers, f"its numbers are {', '.join(rule.numbers)}", "rate_w among them")
    _expect(rule, hash(rule) == hash(rule.replace()), "its copy has another hash", "hashable fields")
    _expect(
        rule, "<lambda>" not in str(rule.functions) and "<locals>" not in str(rule.functions),
        f"its functions are {[f.__qualname__ for f in rule.functions]}",
        "functions of a module, by name: others are compiled again each time",
    )  # fmt: skip


def _described(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), tree)


def _alike(a, b) -> bool:
    structure: Any = jax.tree.structure(a)
    return bool(structure == jax.tree.structure(b))


def _same(a, b) -> bool:
    """Whether two pytrees are alike in structure and, bit for bit, in content."""
    if not _alike(a, b):
        return False
    return all(
        np.array_equal(x, y, equal_nan=True) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def _close(a, b) -> bool:
    """Alike in structure, and in content to what another order of summation may change."""
    if not _alike(a, b):
        return False
    return all(
        np.allclose(x, y, rtol=1e-3, atol=1e-4) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def _numbers(rule):
    return {name: jnp.asarray(value, float) for name, value in rule.settle().items()}


def _check_start(rule):
    circuit, key, numbers = rule(WIDTHS), jax.random.key(0), _numbers(rule)
    state = rule.init(circuit, key, numbers)
    _expect(rule, isinstance(state, State), f"init returned {type(state).__name__}", "a State")
    _expect(rule, isinstance(state.synapses, Synapses), "init returned other synapses", "Synapses of matrices")
    shapes = tuple(w.shape for w in state.synapses.w)
    _expect(rule, shapes == circuit.shapes.w, f"init made w of shapes {shapes}", f"{circuit.shapes.w}")
    _expect(rule, _same(state, rule.init(circuit, key, numbers)), "init gave two circuits for one key", "one")
    plain = dynamics.init(circuit, key, numbers)
    _expect(
        rule, _same(state.synapses.w, plain.synapses.w), "init draws w in a way of its own",
        "w of sj.init(circuit, key, numbers), so that rules with the same seed start from the same w",
    )  # fmt: skip
    for pathway in circuit.plastic:
        _expect(rule, getattr(state.synapses, pathway), f"{pathway} is plastic but init makes none", "its matrices")


def _step(rule, circuit, numbers, state, x, labels, key):
    """The five functions in the loop's order: what each left."""
    loss = losses.cross_entropy
    forwarded = rule.forward(circuit, state, x)
    y_hat = forwarded.activity.h[-1]
    teacher = Teacher(
        loss.error(y_hat, labels),
        losses.targets(y_hat, labels),
        lambda other: loss.value(other, labels),
        jax.random.fold_in(key, 1),
    )
    fed_back = rule.feedback(circuit, forwarded, teacher)
    descent, memory = rule.local_update(circuit, fed_back, jax.random.fold_in(key, 2), numbers)
    changed = jax.tree.map(lambda m, d: m - 0.01 * d, fed_back.synapses, descent)
    last = rule.after(circuit, fed_back._replace(synapses=changed, memory=memory), key, numbers)
    return forwarded, fed_back, descent, memory, last


def _check_step(rule):
    circuit, key, numbers = rule(WIDTHS), jax.random.key(1), _numbers(rule)
    state = rule.init(circuit, jax.random.key(0), numbers)
    x = jax.random.normal(jax.random.key(2), (BATCH, WIDTHS[0]))
    labels = jnp.arange(BATCH) % WIDTHS[-1]
    forwarded, fed_back, descent, memory, last = _step(rule, circuit, numbers, state, x, labels, key)
    shapes = [h.shape for h in forwarded.activity.h]
    wanted = [(BATCH, width) for width in WIDTHS]
    _expect(rule, shapes == wanted, f"forward left h of shapes {shapes}", f"{wanted}")
    _expect(rule, _same(forwarded.synapses, state.synapses), "forward changed the synapses", "them as they were")
    _expect(rule, _same(fed_back.synapses, state.synapses), "feedback changed the synapses", "them as they were")
    _expect(rule, _same(fed_back.activity.h, forwarded.activity.h), "feedback changed h", "it as forward left it")
    found, like = _described(descent), _described(state.synapses)
    _expect(rule, found == like, f"local_update descends along {found}", f"one like the synapses, {like}")
    finite = all(bool(jnp.isfinite(d).all()) for d in jax.tree.leaves(descent))
    _expect(rule, finite, "local_update gave numbers that are not finite", "finite ones")
    for when, then in (("feedback", fed_back.memory), ("local_update", memory), ("after", last.memory)):
        before, now = _described(state.memory), _described(then)
        _expect(rule, before == now, f"the memory is {now} after {when}", f"it as init made it, {before}")
    found = _described(last.synapses)
    _expect(rule, found == like, f"after left synapses {found}", f"{like}")

    again = _step(rule, circuit, numbers, state, x, labels, key)[2:]
    _expect(rule, _same((descent, memory, last), again), "two steps with one key differ", "randomness by the key alone")

    def ends(state, key, numbers):
        _, _, descent, memory, last = _step(rule, circuit, numbers, state, x, labels, key)
        return descent, memory, last.synapses

    plain = ends(state, key, numbers)
    compiled = jax.jit(ends)(state, key, numbers)
    _expect(rule, _close(plain, compiled), "the compiled step differs from the plain one", "the same")
    pair = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), (state, key, numbers))
    mapped = jax.tree.map(lambda leaf: leaf[1], jax.jit(jax.vmap(ends))(*pair))
    _expect(rule, _close(plain, mapped), "the step mapped over runs differs from the plain one", "the same")


def _check_learning(rule, epochs=60):
    """Four overlapping clouds, and the loop itself."""
    random = np.random.default_rng(0)
    centres = 40 * random.normal(size=(WIDTHS[-1], WIDTHS[0]))
    labels = np.arange(512) % WIDTHS[-1]
    images = np.clip(128 + centres[labels] + 40 * random.normal(size=(512, WIDTHS[0])), 0, 255).astype(np.uint8)
    data = Data({"train": Split(images, labels)}, jnp.full((1, WIDTHS[0]), 128.0), jnp.asarray(55.0))
    protocol = training.Protocol(
        rule.functions, rule(WIDTHS), losses.cross_entropy, batch_size=64, epochs=epochs, evaluate_every=epochs
    )
    found = [
        (float(metrics["train"].loss[0]), bool(runs.diverged[0]))
        for _, runs, metrics in training.train(protocol, rule.settle(), jax.device_put(data), [0])
    ]
    (before, _), (after, diverged) = found[0], found[-1]
    _expect(rule, not diverged, "training on an easy problem diverged", "its default numbers to hold")
    _expect(
        rule,
        after < 0.97 * before,
        f"{epochs} epochs of an easy problem took the loss from {before:.3g} to {after:.3g}",
        "its default numbers to lower it by 3 % or more; learns=False leaves this out",
    )  # fmt: skip


__all__ = ["check"]
