"""The circuit's static description and the pytrees of its state.

Shapes: B examples; L layers of `widths` d_1..d_L; each hidden layer l = 2..L-1 has a downstream
partner of `downstream_widths` d̄_l neurons, of any size. Matrices are [post, pre]. Tuples run from
the input side to the output side, and Python counts from 0:

    pathway  paper               shape             entry i connects
    w        W^1 .. W^{L-1}      [d_{l+1}, d_l]    h[i]        -> h[i+1]       upstream -> upstream
    w_bar    W̄^2 .. W̄^{L-1}     [d̄_l, d̄_{l+1}]   h_bar[i+1]  -> h_bar[i]     downstream -> downstream
    v        V^2 .. V^{L-1}      [d̄_l, d_l]       h[i+1]      -> h_bar[i]     upstream -> downstream
    v_bar    V̄^1 .. V̄^{L-2}     [d_l, d̄_l]       h_bar[i]    -> h[i+1]       downstream -> upstream

At the output the streams meet one to one (Fig. 1, orange arrows), so V̄^{L-1} = I is never stored.
"""

import dataclasses
import itertools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

PATHWAYS = ("w", "w_bar", "v", "v_bar")
SYMBOLS = {"w": "W", "w_bar": "W̄", "v": "V", "v_bar": "V̄"}  # the paper's


def linear(h: jax.Array) -> jax.Array:
    """φ(h) = h."""
    return h


# D_u: what a neuron sends, φ(h); its derivative φ'(h) gates what the neuron receives.
PHI = {
    "relu": jax.nn.relu,  # eq. (7)
    "leaky_relu": jax.nn.leaky_relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": jax.nn.gelu,
    "linear": linear,
}
ACTIVATIONS = tuple(PHI)
DOWNSTREAM_ACTIVATIONS = ("identity", "gate", "relu", "tanh")
ERROR_SIGNALS = ("vector", "mean", "norm")
FEEDBACK_WEIGHTS = ("tied", "local")
INITIALS = ("normal", "uniform")


class Synapses(NamedTuple):
    """One entry for each pathway: matrices in a state; numbers where it holds rates or scales.

    >>> import sam_jax as sj
    >>> sj.Synapses(w=0.1, v_bar=0.4)
    Synapses(w=0.1, w_bar=(), v=(), v_bar=0.4)
    """

    w: Any = ()
    w_bar: Any = ()
    v: Any = ()
    v_bar: Any = ()


class Activity(NamedTuple):
    """Potentials, before the nonlinearity: `h`, L arrays [B, d_l]; `h_bar`, L-1 arrays [B, d̄_l], the last being ε.

    >>> import jax, jax.numpy as jnp, sam_jax as sj
    >>> circuit = sj.sam((6, 5, 4, 3), downstream_widths=(7, 2))
    >>> state = sj.forward(circuit, sj.init(circuit, jax.random.key(0)), jnp.ones((8, 6)))
    >>> state = sj.feedback(circuit, state, jnp.ones((8, 3)))
    >>> [h_bar.shape for h_bar in state.activity.h_bar]
    [(8, 7), (8, 2), (8, 3)]
    """

    h: tuple = ()
    h_bar: tuple = ()


class State(NamedTuple):
    """All that a circuit carries: its synapses, its last activity, and a rule's own `memory`, any pytree.

    >>> import jax, sam_jax as sj
    >>> state = sj.init(sj.sgd((6, 3)), jax.random.key(0))
    >>> state.activity, state.memory
    (Activity(h=(), h_bar=()), ())
    """

    synapses: Synapses
    activity: Activity = Activity()
    memory: Any = ()


def _whole(widths):
    for width in widths:
        if isinstance(width, bool) or not hasattr(width, "__index__") or width < 1:
            raise ValueError(f"a width is {width!r}, expected a positive whole number")
    return tuple(map(operator.index, widths))


@dataclasses.dataclass(frozen=True)
class Circuit:
    """What is fixed about a circuit: sizes and settings, hashable. Usually built by a rule: `sam(...)`.

    Attributes:
      widths: `d_1..d_L`; the pixels, the hidden layers, the classes.
      downstream_widths: `d̄_2..d̄_{L-1}`, one for each hidden layer; () means the hidden widths.
      activation: D_u of the hidden layers, one of ACTIVATIONS, or φ itself: a function of h, elementwise.
      downstream_activation: D_d, one of DOWNSTREAM_ACTIVATIONS. `gate` is the Jacobian of the
        forward nonlinearity, relu and tanh act on h̄ itself.
      one_to_one: V = V̄ = I, neither stored nor multiplied by (paper, lines 331-337).
      feedback_weights: `tied` is W̄ = Wᵀ at every step, not stored; `local` is a matrix of its own,
        plastic by eq. (9) or not.
      plastic: the pathways that learn and decay, a subset of PATHWAYS.
      gated: the pathways whose S_post is gated by the postsynaptic neuron, as in eq. (8)-(11); the
        others take its plain potential (paper, lines 347-352).
      error_signal: `vector`, or each hidden layer's h̄ collapsed to its `mean` or `norm`, one number
        for each example shared by the layer's neurons (paper, lines 161-163).
      initial: the distribution that matrices are drawn from, one of INITIALS.

    Raises:
      ValueError: a setting is unknown, or the settings do not fit together.

    >>> import sam_jax as sj
    >>> circuit = sj.Circuit((6, 5, 3), downstream_widths=(7,), plastic=("v_bar", "w"))
    >>> circuit.plastic, circuit.hidden_widths, circuit.shapes.v_bar
    (('w', 'v_bar'), (5,), ((5, 7),))
    >>> sj.Circuit((6, 5, 3), downstream_widths=(7,), one_to_one=True)
    Traceback (most recent call last):
    ValueError: one_to_one needs downstream_widths equal to the hidden widths (5,), got (7,)
    """

    widths: tuple[int, ...]
    downstream_widths: tuple[int, ...] = ()
    activation: str | Callable = "relu"
    downstream_activation: str = "identity"
    one_to_one: bool = False
    feedback_weights: str = "local"
    plastic: tuple[str, ...] = PATHWAYS
    gated: tuple[str, ...] = PATHWAYS
    error_signal: str = "vector"
    initial: str = "normal"

    def __post_init__(self):
        for field in ("plastic", "gated"):
            if unknown := set(getattr(self, field)) - set(PATHWAYS):
                raise ValueError(f"{field} names {min(unknown)!r}, expected a subset of {', '.join(PATHWAYS)}")
        widths = _whole(self.widths)
        settled = {
            "widths": widths,
            "downstream_widths": _whole(self.downstream_widths) or widths[1:-1],
            "plastic": tuple(p for p in PATHWAYS if p in self.plastic),  # equal circuits, equal hashes
            "gated": tuple(p for p in PATHWAYS if p in self.gated),
        }
        for field, value in settled.items():
            object.__setattr__(self, field, value)
        for field, known in (
            ("activation", ACTIVATIONS),
            ("downstream_activation", DOWNSTREAM_ACTIVATIONS),
            ("feedback_weights", FEEDBACK_WEIGHTS),
            ("error_signal", ERROR_SIGNALS),
            ("initial", INITIALS),
        ):
            own_activation = field == "activation" and callable(self.activation)
            if not own_activation and getattr(self, field) not in known:
                raise ValueError(f"{field} is {getattr(self, field)!r}, expected one of {', '.join(known)}")
        self._check_widths()
        for pathway in self.plastic:
            if pathway not in self.stored:
                why = "W̄ is tied to Wᵀ" if pathway == "w_bar" else "one_to_one fixes V = V̄ = I"
                raise ValueError(f"{pathway} cannot be plastic: this circuit does not store it ({why})")

    def _check_widths(self):
        if len(self.widths) < 2:
            raise ValueError(f"widths has {len(self.widths)} entries, expected at least 2 (input and output)")
        if len(self.downstream_widths) != len(self.hidden_widths):
            raise ValueError(
                f"downstream_widths has {len(self.downstream_widths)} entries, expected "
                f"{len(self.hidden_widths)} (one for each hidden layer)"
            )
        matched = {
            "one_to_one": self.one_to_one,
            "downstream_activation 'gate'": self.downstream_activation == "gate",
            "feedback_weights 'tied'": self.feedback_weights == "tied",
        }
        for setting, needs_match in matched.items():
            if needs_match and self.downstream_widths != self.hidden_widths:
                raise ValueError(
                    f"{setting} needs downstream_widths equal to the hidden widths "
                    f"{self.hidden_widths}, got {self.downstream_widths}"
                )

    @property
    def phi(self) -> Callable:
        """φ: what a hidden upstream neuron sends, as a function of its potential h."""
        return self.activation if callable(self.activation) else PHI[self.activation]

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """`d_2..d_{L-1}`."""
        return self.widths[1:-1]

    @property
    def stored(self) -> tuple[str, ...]:
        """The pathways that have matrices of their own."""
        tied = self.feedback_weights == "tied"
        return ("w",) + (() if tied else ("w_bar",)) + (() if self.one_to_one else ("v", "v_bar"))

    @property
    def shapes(self) -> Synapses:
        """The [post, pre] shape of every matrix, for the stored pathways."""
        up, down = self.widths, self.downstream_widths + self.widths[-1:]
        every = Synapses(
            w=tuple((post, pre) for pre, post in itertools.pairwise(up)),
            w_bar=tuple(itertools.pairwise(down)),
            v=tuple(zip(down[:-1], up[1:-1], strict=True)),
            v_bar=tuple(zip(up[1:-1], down[:-1], strict=True)),
        )
        return Synapses(*(getattr(every, p) if p in self.stored else () for p in PATHWAYS))
