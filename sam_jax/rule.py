"""What a learning rule is: five pure functions around a circuit, its numbers by name, and what a search may try.

The training loop (`training.py`) calls the five and knows no rule:

    init(circuit, key, numbers) -> State
    forward(circuit, state, x) -> State                         fills activity.h
    feedback(circuit, state, teacher) -> State                  fills activity.h_bar
    local_update(circuit, state, key, numbers) -> (Synapses, memory)   what every pathway descends along
    after(circuit, state, key, numbers) -> State                a phase of its own, after each update

Each has the circuit's own as its default, so a rule writes only what is different about it:

    dfa = sj.fa.replace(name="dfa", title="Direct FA", init=direct_init, feedback=direct)

What the functions may count on: they run under `jit`, `vmap` and `scan`; numbers are traced; a key is
fresh at each step; `state.memory` is what the rule's last function left there, of unchanging shapes.
Write them as module-level functions: equal rules then hash alike and compile once.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.core
import jax

from sam_jax import dynamics
from sam_jax.circuit import PATHWAYS, SYMBOLS, Circuit, State, Synapses

RATES = tuple(f"rate_{pathway}" for pathway in PATHWAYS)
SCALES = tuple(f"scale_{pathway}" for pathway in PATHWAYS)
DECAYS = tuple(f"decay_{pathway}" for pathway in PATHWAYS)
NONE: Mapping = flax.core.FrozenDict()
# Numbers that any rule takes, and that are off until given.
OPTIONAL = (*DECAYS, "momentum", "momentum_kept", "clip_norm")
MEANINGS = {
    **{f"rate_{p}": f"learning rate of {SYMBOLS[p]}" for p in PATHWAYS},
    **{f"scale_{p}": f"initial scale of {SYMBOLS[p]}, its standard deviation times √fan_in" for p in PATHWAYS},
    "decay": "γ for each step, of all pathways",
    **{f"decay_{p}": f"γ of {SYMBOLS[p]} alone, in place of decay" for p in PATHWAYS},
    "momentum": "share of the last step that the next one repeats",
    "momentum_kept": "share of the momentum that an epoch takes over from the one before, 1 where it is not given",
    "clip_norm": "largest global norm of the gradients, each times its rate over that of W",
}


class Teacher(NamedTuple):
    """What the output is taught in a step.

    Attributes:
      error: ε = -∂F/∂ŷ for each example, [B, K].
      targets: the labels as rows, [B, K]: one-hot, or 0 and 1 for several labels.
      value: ŷ [B, K] -> F [B], for rules that try other outputs.
      key: a key for rules whose feedback is random.

    >>> import jax, jax.numpy as jnp, sam_jax as sj
    >>> loss, y_hat, labels = sj.losses.mse, jnp.zeros((1, 2)), jnp.array([1])
    >>> teacher = sj.Teacher(
    ...     error=loss.error(y_hat, labels),
    ...     targets=sj.losses.targets(y_hat, labels),
    ...     value=lambda other: loss.value(other, labels),
    ...     key=jax.random.key(0),
    ... )
    >>> teacher.error.tolist(), teacher.value(y_hat + 1).tolist()
    ([[0.0, 2.0]], [1.0])
    """

    error: jax.Array
    targets: jax.Array
    value: Callable
    key: jax.Array


def init(circuit: Circuit, key: jax.Array, numbers: Mapping) -> State:
    """The circuit's own: `dynamics.init`."""
    return dynamics.init(circuit, key, numbers)


def forward(circuit: Circuit, state: State, x: jax.Array) -> State:
    """The circuit's own, eq. (5): `dynamics.forward`."""
    return dynamics.forward(circuit, state, x)


def feedback(circuit: Circuit, state: State, teacher: Teacher) -> State:
    """The circuit's own, eq. (6), of the error vector: `dynamics.feedback`."""
    return dynamics.feedback(circuit, state, teacher.error)


def local_update(circuit: Circuit, state: State, key: jax.Array, numbers: Mapping) -> tuple[Synapses, Any]:
    """The circuit's own, eq. (8)-(11): `dynamics.local_update`; the memory as it was."""
    return dynamics.local_update(circuit, state), state.memory


def after(circuit: Circuit, state: State, key: jax.Array, numbers: Mapping) -> State:
    """No phase of its own."""
    return state


class Functions(NamedTuple):
    """The five functions of a rule: what a compiled program depends on."""

    init: Callable
    forward: Callable
    feedback: Callable
    local_update: Callable
    after: Callable


@dataclasses.dataclass(frozen=True)
class Rule:
    """A learning rule. Calling it builds its circuit: `sam(widths=(784, 200, 10))`.

    Attributes:
      name: what `--rules` and the records call it.
      title: its name in tables.
      circuit: fields of `Circuit` that it sets.
      numbers: its numbers with their defaults: `rate_w`, `scale_w`, `decay`, ... and any of its own.
      scaled: the numbers that an overall factor multiplies.
      ties: numbers that follow another until they are given themselves: {"rate_w_bar": "rate_w"}.
      space: (low, high) of each number that a search tries, log-uniformly; a name with "/" is a ratio
        to the number after it: {"rate_w": (0.05, 0.8), "decay/rate_w": (1e-5, 3e-3)}.
      source: where it is from.
      learned_after: pathways that `after` changes by learning: plastic in Table 2, though not by `local_update`.
      init, forward, feedback, local_update, after: as in this module's docstring.

    Raises:
      ValueError: `ties`, `scaled` or `space` name a number that it does not have, or a range is empty.

    >>> import sam_jax as sj
    >>> slow = sj.sam.replace(name="slow", title="slow SAM", numbers={**sj.sam.numbers, "rate_w": 0.25})
    >>> slow.settle(factor=0.5)["rate_w"]
    0.125
    >>> slow((6, 5, 3)) == sj.sam((6, 5, 3))
    True
    """

    name: str
    title: str
    circuit: Mapping[str, Any]
    numbers: Mapping[str, float]
    scaled: tuple[str, ...] = (*RATES, "decay", *DECAYS)
    ties: Mapping[str, str] = NONE
    space: Mapping[str, tuple[float, float]] = NONE
    source: str = ""
    learned_after: tuple[str, ...] = ()
    init: Callable = init
    forward: Callable = forward
    feedback: Callable = feedback
    local_update: Callable = local_update
    after: Callable = after

    def __post_init__(self):
        for field in ("circuit", "numbers", "ties", "space"):
            object.__setattr__(self, field, flax.core.FrozenDict(getattr(self, field)))  # hashable
        known = self.known_numbers
        for tied, base in self.ties.items():
            if base not in self.numbers or tied in self.numbers:
                raise ValueError(
                    f"rule {self.name} ties {tied} to {base}: expected {base} among its numbers, and {tied} not"
                )
        if unknown := set(self.scaled) - {*known, *RATES, "decay"}:
            raise ValueError(f"rule {self.name} scales {min(unknown)}, expected some of {', '.join(known)}")
        drawn = {name for name in self.space if "/" not in name}
        for name, (low, high) in self.space.items():
            number, _, base = name.partition("/")
            for part in filter(None, (number, base)):
                if part not in known:
                    raise ValueError(f"rule {self.name} searches {part}, expected some of {', '.join(known)}")
            if base and base not in drawn:
                raise ValueError(f"rule {self.name} searches {name}, expected {base} before it in its space")
            drawn.add(number)
            if not 0 < low < high:
                raise ValueError(f"rule {self.name} searches {name} in ({low}, {high}), expected 0 < low < high")

    def __call__(self, widths: tuple[int, ...], downstream_widths: tuple[int, ...] = (), **settings) -> Circuit:
        """This rule's circuit; `settings` are fields of `Circuit` that replace the rule's own."""
        return Circuit(widths, downstream_widths, **{**self.circuit, **settings})

    def replace(self, **fields) -> "Rule":
        """A rule like this one but for these fields."""
        return dataclasses.replace(self, **fields)

    @property
    def known_numbers(self) -> tuple[str, ...]:
        """Every number that the rule takes, tied and optional ones too."""
        return tuple(dict.fromkeys((*self.numbers, *self.ties, *OPTIONAL)))

    @property
    def functions(self) -> Functions:
        """The five functions alone."""
        return Functions(self.init, self.forward, self.feedback, self.local_update, self.after)

    def settle(
        self, given: Mapping[str, float] = NONE, factor: float = 1.0, exact: Mapping[str, float | None] = NONE
    ) -> dict[str, float]:
        """All numbers of a run: its own, in their place those given, all that is `scaled` times `factor`; then ties.

        What is `exact` replaces a number whatever the factor is; None leaves out one that is optional.

        Raises:
          ValueError: it has no such number.

        >>> import sam_jax as sj
        >>> sj.kp.settle({"rate_w": 0.2})["rate_w_bar"]
        0.2
        """
        if unknown := {*given, *exact} - set(self.known_numbers):
            raise ValueError(
                f"rule {self.name} has no number {min(unknown)!r}, expected some of {', '.join(self.known_numbers)}"
            )
        numbers = {**self.numbers, **given}
        numbers = {name: factor * value if name in self.scaled else value for name, value in numbers.items()}
        numbers = {name: value for name, value in {**numbers, **exact}.items() if value is not None}
        return numbers | {tied: numbers[base] for tied, base in self.ties.items() if tied not in numbers}
