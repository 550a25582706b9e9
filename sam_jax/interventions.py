"""Manipulations of a circuit while it learns, as in the paper's Discussion: freeze or lesion a pathway."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sam_jax.circuit import PATHWAYS, Synapses

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
        raise ValueError(f"{kind} {text!r}: expected PATHWAY@EPOCH with one of {', '.join(PATHWAYS)}, as in v_bar@10")
    return Intervention(kind, pathway, int(epoch))


def check(interventions: tuple[Intervention, ...], synapses: Synapses) -> None:
    """Raises ValueError where a kind is unknown, or these synapses (or their shapes) lack the pathway."""
    stored = [pathway for pathway in PATHWAYS if getattr(synapses, pathway)]
    for kind, pathway, _ in interventions:
        if kind not in KINDS:
            raise ValueError(f"intervention is {kind!r}, expected one of {', '.join(KINDS)}")
        if pathway not in stored:
            raise ValueError(f"cannot {kind} {pathway}: this circuit stores {', '.join(stored)}")


def begun(interventions: tuple[Intervention, ...], epoch: int) -> tuple[Intervention, ...]:
    """Those that hold after so many epochs."""
    return tuple(intervention for intervention in interventions if intervention.epoch <= epoch)


def silenced(interventions: tuple[Intervention, ...], synapses: Synapses) -> Synapses:
    """The synapses with all lesioned pathways at zero."""
    lesioned = {pathway for kind, pathway, _ in interventions if kind == "lesion"}
    return synapses._replace(**{p: jax.tree.map(jnp.zeros_like, getattr(synapses, p)) for p in lesioned})


def frozen(interventions: tuple[Intervention, ...]) -> tuple[str, ...]:
    """The pathways that change no more."""
    return tuple(p for p in PATHWAYS if p in {intervention.pathway for intervention in interventions})
