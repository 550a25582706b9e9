"""SAM whose downstream neurons compute a gate of their own: D_d = 1[V φ(h) > 0]. Ours, not the paper's.

V carries upstream activity to the downstream neurons; one that is driven by it sends on what it hears. With V = I
this is the gate of backprop, and the error passes gates again, which a D_d of I denies it (docs/linear_feedback.md).

python experiments/table1.py --rules=sgd,sam,examples/own_gate.py:own_gate --tune
"""

import jax.numpy as jnp

import sam_jax as sj


def gated_feedback(circuit, state, teacher):
    h, synapses = state.activity.h, state.synapses
    h_bar = (teacher.error,)
    for i in reversed(range(len(circuit.hidden_widths))):
        driven = circuit.phi(h[i + 1]) @ synapses.v[i].T > 0
        h_bar = (jnp.where(driven, h_bar[0] @ synapses.w_bar[i].T, 0), *h_bar)
    return state._replace(activity=sj.Activity(h, h_bar))


own_gate = sj.sam.replace(name="own_gate", title="SAM with a gate of its own", feedback=gated_feedback)
