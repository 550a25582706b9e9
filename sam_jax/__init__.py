"""sam_jax: the Self-Assembling Motif, a cortical circuit that learns with vectorized errors, in JAX."""

import importlib.metadata

from sam_jax import data, inputs, interventions, losses, plasticity, probes, rules, testing, training
from sam_jax.circuit import PATHWAYS, Activity, Circuit, State, Synapses
from sam_jax.data.datasets import load
from sam_jax.dynamics import feedback, forward, init, local_update
from sam_jax.rule import Rule, Teacher
from sam_jax.rules import (
    RULES,
    brsf,
    compatibility_table,
    dfa,
    dkp,
    drtp,
    fa,
    frsf,
    kp,
    node_perturbation,
    sam,
    sgd,
    usf,
    wm,
)
from sam_jax.trained import Trained, restore, save, train

__version__ = importlib.metadata.version("sam_jax")
__all__ = [
    "PATHWAYS",
    "RULES",
    "Activity",
    "Circuit",
    "Rule",
    "State",
    "Synapses",
    "Teacher",
    "Trained",
    "brsf",
    "compatibility_table",
    "data",
    "dfa",
    "dkp",
    "drtp",
    "fa",
    "feedback",
    "forward",
    "frsf",
    "init",
    "inputs",
    "interventions",
    "kp",
    "load",
    "local_update",
    "losses",
    "node_perturbation",
    "plasticity",
    "probes",
    "restore",
    "rules",
    "sam",
    "save",
    "sgd",
    "testing",
    "train",
    "training",
    "usf",
    "wm",
]
