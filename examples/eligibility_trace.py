"""A rule with a memory: W learns from a running average of its own updates, an eligibility trace.

python experiments/table1.py --rules=sgd,sam,examples/eligibility_trace.py:traced --trace=0.8
"""

import jax
import jax.numpy as jnp

import sam_jax as sj


def traced_init(circuit, key, numbers):
    state = sj.init(circuit, key, numbers)
    return state._replace(memory=jax.tree.map(jnp.zeros_like, state.synapses))


def traced_update(circuit, state, key, numbers):
    descent = sj.local_update(circuit, state)
    keep = numbers["trace"]
    memory = jax.tree.map(lambda old, new: keep * old + (1 - keep) * new, state.memory, descent)
    return memory, memory


traced = sj.kp.replace(
    name="traced",
    title="Kolen–Pollack with a trace",
    numbers={**sj.kp.numbers, "trace": 0.9},
    init=traced_init,
    local_update=traced_update,
)
