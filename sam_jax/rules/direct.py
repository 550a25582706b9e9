"""Rules whose error reaches every hidden layer directly, over a W̄ of its own: B_l [d_l, K] in place of W̄^l.

h̄_l = B_l ε          direct feedback alignment (Nøkland 2016)
h̄_l = B_l t          direct random target projection, t the target (Frenkel, Lefebvre and Bol 2021)
ΔB_l = a_l εᵀ - γ B_l  direct Kolen-Pollack (Webster, Choi and Ahn 2020): with W's rate and decay, B of the
                     last hidden layer becomes the transpose of the top W

The numbers of dfa and dkp are those that an equally long search chose for each (results/search_other_rules), dkp's at
the smallest overall factor that it chose for a data set, dfa's at the middle one, Fashion-MNIST's. drtp's are by hand:
with a ReLU the search's rates, the highest that did not diverge, are so low that a small data set is not learned.
"""

from collections.abc import Mapping
from typing import Any

import jax

from sam_jax import dynamics, rule
from sam_jax.circuit import Activity, Circuit, State, Synapses
from sam_jax.connections import draw, hebb, send
from sam_jax.rule import Teacher
from sam_jax.rules.motif import fa


def direct_init(circuit: Circuit, key: jax.Array, numbers: Mapping) -> State:
    """W as the circuit draws it; B_l [d_l, K] with standard deviation scale_w_bar / √d_l, as W̄ has."""
    state = dynamics.init(circuit, key, numbers)
    classes, scale = circuit.widths[-1], numbers["scale_w_bar"]
    b = tuple(
        draw(dynamics.key_of(key, "w_bar", i), (width, classes), scale, width, circuit.initial)
        for i, width in enumerate(circuit.hidden_widths)
    )
    return state._replace(synapses=state.synapses._replace(w_bar=b))


def project(state: State, signal: jax.Array, error: jax.Array) -> State:
    """h̄_l = B_l signal in every hidden layer, and ε at the output."""
    h_bar = tuple(send(b, signal) for b in state.synapses.w_bar)
    return state._replace(activity=Activity(state.activity.h, (*h_bar, error)))


def direct(circuit: Circuit, state: State, teacher: Teacher) -> State:
    """Every hidden layer hears the error."""
    return project(state, teacher.error, teacher.error)


def target_projection(circuit: Circuit, state: State, teacher: Teacher) -> State:
    """Every hidden layer hears the target, which needs no output; the output layer learns from its error."""
    return project(state, teacher.targets, teacher.error)


def direct_update(circuit: Circuit, state: State, key: jax.Array, numbers: Mapping) -> tuple[Synapses, Any]:
    """Eq. (8) for W; ΔB_l = a_l εᵀ, the transpose of what W of the layer above would learn were it the top one."""
    descent, memory = rule.local_update(circuit, state, key, numbers)
    h, h_bar = state.activity
    b = tuple(-hebb(circuit.phi(potential), h_bar[-1]) for potential in h[1:-1])
    return descent._replace(w_bar=b), memory


dfa = fa.replace(
    name="dfa",
    title="Direct Feedback Alignment",
    init=direct_init,
    feedback=direct,
    numbers={"rate_w": 0.129, "decay": 1.63e-6, "scale_w": 0.533, "scale_w_bar": 0.26},
    source="Nøkland 2016",
)
drtp = dfa.replace(
    name="drtp",
    title="Direct Random Target Projection",
    feedback=target_projection,
    numbers={"rate_w": 0.1, "decay": 0.0, "scale_w": 1.0, "scale_w_bar": 0.03},
    space={"rate_w": (0.005, 0.2), "decay/rate_w": (1e-5, 3e-3), "scale_w": (0.4, 1.2), "scale_w_bar": (0.03, 1.0)},
    source="Frenkel, Lefebvre and Bol 2021",
)
dkp = dfa.replace(
    name="dkp",
    title="Direct Kolen–Pollack",
    circuit={**fa.circuit, "plastic": ("w", "w_bar")},
    numbers={"rate_w": 0.0508, "decay": 4.36e-5, "scale_w": 0.981, "scale_w_bar": 0.627},
    ties={"rate_w_bar": "rate_w"},
    space={"rate_w": (0.01, 0.5), "decay/rate_w": (1e-4, 1e-2), "scale_w": (0.4, 1.2), "scale_w_bar": (0.1, 1.0)},
    local_update=direct_update,
    source="Webster, Choi and Ahn 2020",
)
