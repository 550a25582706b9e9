"""What every rule promises holds for all of ours, and a rule that breaks a promise is told so."""

import jax
import pytest

import sam_jax as sj


@pytest.mark.slow
@pytest.mark.parametrize("name", sj.RULES)
def test_every_rule_keeps_its_promises(name):
    sj.testing.check(sj.RULES[name])


def drifting(circuit, state, teacher):
    """Feedback that also changes W, which is not its own."""
    state = sj.rule.feedback(circuit, state, teacher)
    w = jax.tree.map(lambda m: 2 * m, state.synapses.w)
    return state._replace(synapses=state.synapses._replace(w=w))


def test_a_feedback_that_changes_synapses_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"rule drifting: .*feedback") as caught:
        sj.testing.check(sj.fa.replace(name="drifting", feedback=drifting), learns=False)
    assert "\n" not in str(caught.value)
