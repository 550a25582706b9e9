"""Manipulations of a circuit while it learns, as in the paper's Discussion: freeze or lesion a pathway."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sam_jax.circuit import PATHWAYS, Synapses

KINDS = ("freeze", "lesion")


class Intervention(NamedTuple):
    """After `epoch` epochs the pathway stops learning and decaying (`freeze`), or falls silent for good (`lesion`).

    >>> import sam_jax as sj
    >>> sj.interventions.Intervention("lesion", "v_bar", epoch=10)
    Intervention(kind='lesion', pathway='v_bar', epoch=10)
    """

    kind: str
    pathway: str
    epoch: int


def parse(kind: str, text: str) -> Intervention:
    """`v_bar@10` -> the intervention after epoch 10; `@0` is from the start.

    Raises:
      ValueError: the text is not PATHWAY@EPOCH.

    >>> import sam_jax as sj
    >>> sj.interventions.parse("freeze", "v_bar@10")
    Intervention(kind='freeze', pathway='v_bar', epoch=10)
    """
    pathway, _, epoch = text.partition("@")
    if pathway not in PATHWAYS or not epoch.isdecimal():
        raise ValueError(f"{kind} {text!r}: expected PATHWAY@EPOCH with one of {', '.join(PATHWAYS)}, as in v_bar@10")
    return Intervention(kind, pathway, int(epoch))


def check(interventions: tuple[Intervention, ...], synapses: Synapses) -> None:
    """Says where interventions do not fit a circuit.

    Args:
      interventions: to be checked.
      synapses: the circuit's, or their shapes.

    Raises:
      ValueError: a kind is unknown, or these synapses lack the pathway.

    >>> import sam_jax as sj
    >>> sj.interventions.check((sj.interventions.parse("freeze", "v@0"),), sj.sgd((6, 5, 3)).shapes)
    Traceback (most recent call last):
    ValueError: cannot freeze v: this circuit stores w
    """
    stored = [pathway for pathway in PATHWAYS if getattr(synapses, pathway)]
    for kind, pathway, _ in interventions:
        if kind not in KINDS:
            raise ValueError(f"intervention is {kind!r}, expected one of {', '.join(KINDS)}")
        if pathway not in stored:
            raise ValueError(f"cannot {kind} {pathway}: this circuit stores {', '.join(stored)}")


def begun(interventions: tuple[Intervention, ...], epoch: int) -> tuple[Intervention, ...]:
    """Those that hold after so many epochs.

    >>> import sam_jax as sj
    >>> both = tuple(sj.interventions.parse("freeze", text) for text in ("v@2", "v_bar@5"))
    >>> [intervention.pathway for intervention in sj.interventions.begun(both, epoch=4)]
    ['v']
    """
    return tuple(intervention for intervention in interventions if intervention.epoch <= epoch)


def silenced(interventions: tuple[Intervention, ...], synapses: Synapses) -> Synapses:
    """The synapses with all lesioned pathways at zero.

    >>> import jax.numpy as jnp, sam_jax as sj
    >>> synapses = sj.Synapses(w=(jnp.ones((1, 1)),), v=(jnp.ones((1, 1)),))
    >>> left = sj.interventions.silenced((sj.interventions.parse("lesion", "v@0"),), synapses)
    >>> left.w[0].item(), left.v[0].item()
    (1.0, 0.0)
    """
    lesioned = {pathway for kind, pathway, _ in interventions if kind == "lesion"}
    return synapses._replace(**{p: jax.tree.map(jnp.zeros_like, getattr(synapses, p)) for p in lesioned})


def frozen(interventions: tuple[Intervention, ...]) -> tuple[str, ...]:
    """The pathways that change no more.

    >>> import sam_jax as sj
    >>> sj.interventions.frozen((sj.interventions.parse("lesion", "v@0"), sj.interventions.parse("freeze", "w@0")))
    ('w', 'v')
    """
    return tuple(p for p in PATHWAYS if p in {intervention.pathway for intervention in interventions})
