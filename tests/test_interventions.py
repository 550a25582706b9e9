"""A frozen pathway stands still from its epoch on, a lesioned one is silent, and nothing before that epoch changes."""

import jax
import numpy as np
import pytest
from stepping import some
from test_training import images, numbers, protocol, same, trace

import sam_jax as sj
from sam_jax import inputs, interventions, training
from sam_jax.interventions import Intervention, parse

SEEDS = [0, 1]
EPOCHS = 4


@pytest.fixture(scope="module")
def data():
    return inputs.place(images(300))


def run(data, *texts, rule="sam", **fields):
    """The synapses by epoch under interventions written as `freeze v_bar@2`."""
    begun = tuple(parse(*text.split()) for text in texts)
    fixed = protocol(rule, epochs=EPOCHS, warmup_epochs=0.0, interventions=begun, **fields)
    return trace(fixed, numbers(rule, decay=1e-3), data, SEEDS)


@pytest.fixture(scope="module")
def free(data):
    return run(data)


def moved(before, after):
    """The pathways of which a matrix of any seed changed."""
    return {p for p in sj.PATHWAYS if not same(getattr(before, p), getattr(after, p))}


def test_without_interventions_every_pathway_moves_in_every_epoch(free):
    """What the tests below compare with."""
    assert all(moved(free[e][0], free[e + 1][0]) == set(sj.PATHWAYS) for e in range(EPOCHS))
    assert not any(diverged.any() for _, diverged, _ in free.values())


@pytest.mark.parametrize("pathway", some(sj.PATHWAYS, ("v_bar",)))
def test_a_frozen_pathway_stands_still_from_its_epoch_on_and_the_others_learn(pathway, data, free):
    found = run(data, f"freeze {pathway}@2")
    assert list(found) == list(free)
    assert all(same(found[epoch], free[epoch]) for epoch in (0, 1, 2))
    for epoch in (2, 3):  # not even γ moves it
        assert moved(found[epoch][0], found[epoch + 1][0]) == set(sj.PATHWAYS) - {pathway}
    assert any(matrix.any() for matrix in getattr(found[EPOCHS][0], pathway))


@pytest.mark.parametrize("pathway", some(sj.PATHWAYS, ("v_bar",)))
def test_a_lesioned_pathway_is_zero_from_its_epoch_on(pathway, data, free):
    found = run(data, f"lesion {pathway}@2")
    assert all(same(found[epoch], free[epoch]) for epoch in (0, 1, 2))
    for epoch in (3, 4):
        assert not any(matrix.any() for matrix in getattr(found[epoch][0], pathway))
    assert pathway in moved(found[2][0], found[3][0])


@pytest.mark.slow
def test_w_alone_learns_by_its_top_once_v_bar_is_silent(data):
    """By eq. (8) the error reaches the lower W through V̄ alone: without it they only decay."""
    found = run(data, "lesion v_bar@1", batch_size=300, schedule="constant")  # one step an epoch
    before, after = found[1][0], found[2][0]
    for lower in range(2):
        np.testing.assert_allclose(after.w[lower], (1 - 1e-3) * before.w[lower], rtol=1e-5)
    assert not np.allclose(after.w[2], (1 - 1e-3) * before.w[2], rtol=1e-3)


@pytest.mark.slow
def test_all_but_w_frozen_from_the_start_is_the_circuit_whose_w_alone_is_plastic(data):
    frozen = run(data, "freeze w_bar@0", "freeze v@0", "freeze v_bar@0")
    fixed = protocol("sam", epochs=EPOCHS)
    alone = sj.sam(fixed.circuit.widths, plastic=("w",))
    other = trace(fixed._replace(circuit=alone), numbers("sam", decay=1e-3), data, SEEDS)
    assert all(same(frozen[epoch], other[epoch]) for epoch in range(EPOCHS + 1))


def test_kolen_pollack_with_its_feedback_frozen_from_the_start_is_feedback_alignment(data):
    """The rules differ in W̄'s plasticity only (paper, lines 331-337)."""
    kp = run(data, "freeze w_bar@0", rule="kp")
    fa = trace(protocol("fa", epochs=EPOCHS), numbers("kp", decay=1e-3), data, SEEDS)
    assert all(same(kp[epoch], fa[epoch]) for epoch in range(EPOCHS + 1))


@pytest.mark.slow
def test_interventions_add_up_each_at_its_own_epoch(data, free):
    found = run(data, "freeze v@1", "lesion v_bar@2", "freeze w@3")
    assert same(found[1], free[1])
    assert moved(found[1][0], found[2][0]) == {"w", "w_bar", "v_bar"}
    assert moved(found[2][0], found[3][0]) == {"w", "w_bar", "v_bar"}  # v_bar falls to zero
    assert moved(found[3][0], found[4][0]) == {"w_bar"}


@pytest.mark.slow
def test_the_epoch_of_an_intervention_is_evaluated_even_between_two_evaluations(data, free):
    found = run(data, "freeze w@1", evaluate_every=3)
    assert list(found) == [0, 1, 3, 4]
    assert same(found[1], free[1]) and moved(found[1][0], found[3][0]) == {"w_bar", "v", "v_bar"}


@pytest.mark.slow
def test_a_seeds_run_under_an_intervention_does_not_depend_on_its_neighbours(data):
    begun = (parse("lesion", "w_bar@1"),)
    fixed = protocol("sam", epochs=2, interventions=begun)
    both, one = (trace(fixed, numbers("sam"), data, seeds)[2][0] for seeds in ([4, 7], [7]))
    assert same(jax.tree.map(lambda leaf: leaf[1:], both), one)


def test_a_text_names_a_pathway_and_an_epoch():
    assert parse("freeze", "v_bar@10") == Intervention("freeze", "v_bar", 10)
    assert parse("lesion", "w@0") == Intervention("lesion", "w", 0)


@pytest.mark.parametrize("text", ["v_bar", "v_bar@", "@3", "v_bar@-1", "v_bar@1.5", "u@3", "v_bar@x", "v@1@2", ""])
def test_another_text_gets_one_clear_line(text):
    with pytest.raises(ValueError) as caught:
        parse("freeze", text)
    expected = "expected PATHWAY@EPOCH with one of w, w_bar, v, v_bar, as in v_bar@10"
    assert str(caught.value) == f"freeze {text!r}: {expected}"


@pytest.mark.parametrize(
    ("rule", "intervention", "line"),
    [
        ("sam", ("freeze", "u", 1), r"cannot freeze u: this circuit stores w, w_bar, v, v_bar$"),
        ("sam", ("cool", "v", 1), r"intervention is 'cool', expected one of freeze, lesion$"),
        ("sgd", ("lesion", "w_bar", 1), r"cannot lesion w_bar: this circuit stores w$"),
        ("kp", ("freeze", "v", 0), r"cannot freeze v: this circuit stores w, w_bar$"),
    ],
)
def test_what_a_circuit_cannot_undergo_is_refused_before_training(rule, intervention, line, data):
    fixed = protocol(rule, interventions=(Intervention(*intervention),))
    with pytest.raises(ValueError, match=line):
        next(training.train(fixed, numbers(rule), data, [0]))


def test_what_has_not_begun_changes_nothing():
    synapses = sj.init(sj.sam((3, 4, 2)), jax.random.key(0)).synapses
    later = (Intervention("freeze", "w", 3), Intervention("lesion", "v", 3))
    assert interventions.begun(later, 2) == () and interventions.begun(later, 3) == later
    assert interventions.frozen(()) == () and same(interventions.silenced((), synapses), synapses)
    assert interventions.frozen(later) == ("w", "v")
    silent = interventions.silenced(later, synapses)
    assert not silent.v[0].any() and same(silent.w, synapses.w) and synapses.v[0].any()


@pytest.mark.slow
def test_a_pathway_that_a_rule_learns_in_a_phase_of_its_own_can_be_frozen_and_lesioned_too(data):
    """Weight mirroring changes W̄ after each update, not by `local_update`."""
    free = run(data, rule="wm")
    frozen, silent = run(data, "freeze w_bar@2", rule="wm"), run(data, "lesion w_bar@2", rule="wm")
    assert moved(free[2][0], free[3][0]) == {"w", "w_bar"}
    assert same(frozen[2][0], free[2][0]) and moved(frozen[2][0], frozen[4][0]) == {"w"}
    assert not any(matrix.any() for epoch in (3, 4) for matrix in silent[epoch][0].w_bar)
