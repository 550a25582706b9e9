"""A rule with noise of its own, by the step's key: Kolen-Pollack whose W̄ is jittered after each update.

python experiments/table1.py --rules=sgd,sam,examples/noisy_feedback.py:noisy --jitter=0.01
"""

import jax

import sam_jax as sj


def jittered(circuit, state, key, numbers):
    w_bar = tuple(
        m + numbers["jitter"] * jax.random.normal(jax.random.fold_in(key, 20 + i), m.shape, m.dtype)
        for i, m in enumerate(state.synapses.w_bar)
    )
    return state._replace(synapses=state.synapses._replace(w_bar=w_bar))


noisy = sj.kp.replace(
    name="noisy", title="Kolen–Pollack, noisy", numbers={**sj.kp.numbers, "jitter": 1e-3}, after=jittered
)
