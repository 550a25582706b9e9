"""Sign symmetry: feedback that knows the sign of each forward weight, not its size (Liao, Leibo and Poggio 2016).

The feedback weight is B = |W̄| ∘ sign(Wᵀ), at every step; what is stored as W̄ is its magnitude alone:

    usf   the same s for all of a layer (uniform sign-concordant feedback)
    frsf  drawn once, |W̄| of a Gaussian (fixed random magnitudes)
    brsf  drawn anew for each batch (batchwise random magnitudes)

A sign is transported, so these rules are not local. They say how much of the transpose it takes.
Their numbers are uniform sign symmetry's in results/search_other_rules, at the smallest factor of a data set.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from sam_jax import dynamics
from sam_jax.circuit import Circuit, State
from sam_jax.rule import Teacher
from sam_jax.rules.motif import fa

MAGNITUDES = 2  # this module's fold of the key


def signed(circuit: Circuit, state: State, teacher: Teacher) -> State:
    """Eq. (6) through B = |W̄| ∘ sign(Wᵀ)."""
    w, magnitudes = state.synapses.w, state.synapses.w_bar
    b = tuple(jnp.abs(m) * jnp.sign(above.T) for m, above in zip(magnitudes, w[1:], strict=True))
    through = state._replace(synapses=state.synapses._replace(w_bar=b))
    fed_back = dynamics.feedback(circuit, through, teacher.error)
    return state._replace(activity=fed_back.activity)


def uniform(circuit: Circuit, key: jax.Array, numbers: Mapping) -> State:
    """Every magnitude of W̄^l is scale_w_bar / √d_l."""
    state = dynamics.init(circuit, key, numbers)
    s = tuple(jnp.full_like(m, 1.0) * (numbers["scale_w_bar"] / m.shape[0] ** 0.5) for m in state.synapses.w_bar)
    return state._replace(synapses=state.synapses._replace(w_bar=s))


def redrawn(circuit: Circuit, state: State, key: jax.Array, numbers: Mapping) -> State:
    """New magnitudes for the next batch, as `init` draws them."""
    fresh = dynamics.init(circuit, jax.random.fold_in(key, MAGNITUDES), numbers).synapses.w_bar
    w_bar = jax.tree.map(lambda new, old: new.astype(old.dtype), fresh, state.synapses.w_bar)
    return state._replace(synapses=state.synapses._replace(w_bar=w_bar))


NUMBERS = {"rate_w": 0.871, "decay": 4.46e-4, "scale_w": 0.833, "scale_w_bar": 0.745}
SPACE = {"rate_w": (0.02, 0.8), "decay/rate_w": (1e-5, 3e-3), "scale_w": (0.4, 1.2), "scale_w_bar": (0.1, 1.0)}
SOURCE = "Liao, Leibo and Poggio 2016; Moskovitz, Litwin-Kumar and Abbott 2018"

frsf = fa.replace(
    name="frsf", title="Sign symmetry, fixed", feedback=signed, numbers=NUMBERS, space=SPACE, source=SOURCE
)
usf = frsf.replace(name="usf", title="Sign symmetry, uniform", init=uniform)
brsf = frsf.replace(name="brsf", title="Sign symmetry, redrawn", after=redrawn)
