"""Manipulations of a circuit while it learns, as in the paper's Discussion: freeze or lesion a pathway."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sam_jax.circuit import PATHWAYS, Circuit, Synapses

KINDS = ("freeze", "lesion")


class Intervention(NamedTuple):
    """After `epoch` epochs the pathway stops learning and decaying (`freeze`), or falls silent for good (`lesion`)."""

    kind: str
    pathway: str
    epoch: int


def parse(kind: str, text: str) -> Intervention:
    """`v_bar@10` -> the intervention after epoch 10; `@0` is from the start.

    Raises:
      ValueError: the text is not PATHWAY@EPOCH.
    """
    pathway, _, epoch = text.partition("@")
    if pathway not in PATHWAYS or not epoch.isdecimal():
        raise ValueError(f"--{kind}={text}: expected PATHWAY@EPOCH with one of {', '.join(PATHWAYS)}, as in v_bar@10")
    return Intervention(kind, pathway, int(epoch))


def intervene(
    circuit: Circuit, synapses: Synapses, interventions: tuple[Intervention, ...], epoch: int
) -> tuple[Circuit, Synapses]:
    """The circuit and the synapses as they go on after `epoch` epochs, under what has begun by then.

    Raises:
      ValueError: the kind is unknown, or the circuit does not store the pathway or learns it by mirroring.
    """
    begun = [i for i in interventions if i.epoch <= epoch]
    for kind, pathway, _ in begun:
        if kind not in KINDS:
            raise ValueError(f"intervention is {kind!r}, expected one of {', '.join(KINDS)}")
        mirrored = pathway == "w_bar" and circuit.feedback_weights == "mirrored"
        if pathway not in circuit.stored or mirrored:
            why = "learns it by mirroring" if mirrored else f"stores {', '.join(circuit.stored)}"
            raise ValueError(f"cannot {kind} {pathway}: this circuit {why}")
        if kind == "lesion":
            synapses = synapses._replace(**{pathway: jax.tree.map(jnp.zeros_like, getattr(synapses, pathway))})
    held = {i.pathway for i in begun}
    return dataclasses.replace(circuit, plastic=tuple(p for p in circuit.plastic if p not in held)), synapses
