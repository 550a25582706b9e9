"""The rules of Table 1: one circuit, a row of settings for each rule (paper, lines 331-337).

Calling a row builds its circuit: `sam(widths=(784, 200, 10))`. What the rules hold fixed is all that
sets them apart, and Table 2 follows from it.
"""

import dataclasses

from sam_jax.circuit import PATHWAYS, Circuit, Synapses
from sam_jax.mirror import Mirroring

CRITERIA = tuple(f"{kind} {arrow}" for kind in ("connectivity", "plasticity") for arrow in ("u→u", "d→d", "u→d", "d→u"))


@dataclasses.dataclass(frozen=True, eq=False)  # a row is itself: hashable by identity
class Rule:
    """A learning rule: the circuit's settings, and the numbers that go with them.

    Attributes:
      name: its key in RULES.
      title: its name in tables.
      settings: fields of `Circuit`.
      rates: default η of each pathway, scaled by the learning-rate schedule.
      decay: default γ, for each step.
      scales: default initial scales, standard deviation times sqrt(fan_in).
      mirroring: the numbers of mirror mode, which `wm` alone uses.
    """

    name: str
    title: str
    settings: dict
    rates: Synapses
    decay: float
    scales: Synapses
    mirroring: Mirroring | None = None

    def __call__(self, widths: tuple[int, ...], downstream_widths: tuple[int, ...] = (), **settings) -> Circuit:
        """This rule's circuit; `settings` are fields of `Circuit` that replace the rule's own."""
        return Circuit(widths, downstream_widths, **{**self.settings, **settings})


_ONE_TO_ONE = {"one_to_one": True, "downstream_activation": "gate"}
_EVEN = Synapses(1.0, 1.0, 1.0, 1.0)

sgd = Rule(
    "sgd",
    "SGD",
    {**_ONE_TO_ONE, "feedback_weights": "tied", "plastic": ("w",)},
    rates=Synapses(w=0.1, w_bar=0.0, v=0.0, v_bar=0.0),
    decay=0.0,
    scales=_EVEN,
)
fa = Rule(
    "fa",
    "Feedback Alignment",
    {**_ONE_TO_ONE, "plastic": ("w",)},
    rates=Synapses(w=0.03, w_bar=0.0, v=0.0, v_bar=0.0),
    decay=0.0,
    scales=_EVEN,
)
wm = Rule(
    "wm",
    "Weight Mirroring",
    {**_ONE_TO_ONE, "feedback_weights": "mirrored", "plastic": ("w",)},
    rates=Synapses(w=0.05, w_bar=0.0, v=0.0, v_bar=0.0),  # W̄'s own rate is mirroring's
    decay=0.0,
    scales=_EVEN,
    mirroring=Mirroring(),
)
kp = Rule(
    "kp",
    "Kolen–Pollack",
    {**_ONE_TO_ONE, "plastic": ("w", "w_bar")},
    rates=Synapses(w=0.1, w_bar=0.1, v=0.0, v_bar=0.0),
    decay=1e-4,
    scales=_EVEN,
)
sam = Rule(
    "sam",
    "SAM",
    {"downstream_activation": "identity", "plastic": PATHWAYS},
    rates=Synapses(w=0.25, w_bar=0.075, v=0.5, v_bar=1.0),
    decay=2.5e-4,
    scales=Synapses(w=1.0, w_bar=0.3, v=1.0, v_bar=1.2),
)
RULES = {rule.name: rule for rule in (sgd, fa, wm, kp, sam)}


def compatibility_table() -> dict[str, dict[str, bool]]:
    """The paper's Table 2 for every rule, computed from its settings: `table[rule][criterion]`.

    A pathway exists where the circuit has a matrix of its own for it, a one-to-one or tied pathway
    being none; it is plastic where eq. (8)-(11) or mirroring change that matrix. The criteria are
    CRITERIA, in the order of PATHWAYS.
    """
    table = {}
    for rule in RULES.values():
        circuit = rule(widths=(2, 2, 2))
        mirrored = ("w_bar",) if circuit.feedback_weights == "mirrored" else ()
        ticks = [p in circuit.stored for p in PATHWAYS] + [p in circuit.plastic + mirrored for p in PATHWAYS]
        table[rule.name] = dict(zip(CRITERIA, ticks, strict=True))
    return table
