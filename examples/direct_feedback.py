"""Direct feedback alignment as a rule of one's own: every hidden layer hears the error over a matrix of its own.

python experiments/table1.py --rules=sgd,sam,examples/direct_feedback.py:dfa
"""

import jax

import sam_jax as sj


def direct_init(circuit, key, numbers):
    state = sj.init(circuit, key, numbers)
    shapes = [(width, circuit.widths[-1]) for width in circuit.hidden_widths]
    b = tuple(
        numbers["scale_w_bar"] / shape[0] ** 0.5 * jax.random.normal(jax.random.fold_in(key, 10 + i), shape)
        for i, shape in enumerate(shapes)
    )
    return state._replace(synapses=state.synapses._replace(w_bar=b))


def direct(circuit, state, teacher):
    h_bar = tuple(teacher.error @ b.T for b in state.synapses.w_bar)
    return state._replace(activity=sj.Activity(state.activity.h, (*h_bar, teacher.error)))


dfa = sj.fa.replace(name="my_dfa", title="My direct feedback", init=direct_init, feedback=direct)
