"""sam_jax: the Self-Assembling Motif, a cortical circuit that learns with vectorized errors, in JAX."""

from sam_jax import datasets, losses, plasticity, probes, training
from sam_jax.circuit import PATHWAYS, Activity, Circuit, State, Synapses
from sam_jax.dynamics import feedback, forward, init, local_update
from sam_jax.mirror import Mirroring, mirror
from sam_jax.rules import RULES, Rule, compatibility_table, fa, kp, sam, sgd, wm

__version__ = "0.1.0"
__all__ = [
    "PATHWAYS",
    "RULES",
    "Activity",
    "Circuit",
    "Mirroring",
    "Rule",
    "State",
    "Synapses",
    "compatibility_table",
    "datasets",
    "fa",
    "feedback",
    "forward",
    "init",
    "kp",
    "local_update",
    "losses",
    "mirror",
    "plasticity",
    "probes",
    "sam",
    "sgd",
    "training",
    "wm",
]
