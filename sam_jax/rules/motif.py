"""The circuit's own rules: SAM, and what it becomes when some of its pathways are held (paper, lines 331-337).

What a rule holds fixed is all that sets it apart: it is a row of settings, and has no code.
"""

from sam_jax.circuit import PATHWAYS
from sam_jax.rule import Rule

ONE_TO_ONE = {"one_to_one": True, "downstream_activation": "gate"}  # V = V̄ = I, D_d = D_u

sgd = Rule(
    name="sgd",
    title="SGD",
    circuit={**ONE_TO_ONE, "feedback_weights": "tied", "plastic": ("w",)},
    numbers={"rate_w": 0.1, "decay": 0.0, "scale_w": 1.0},
    space={"rate_w": (0.05, 0.8), "decay/rate_w": (1e-5, 3e-3), "scale_w": (0.4, 1.2)},
    source="Rumelhart, Hinton and Williams 1986",
)
fa = Rule(
    name="fa",
    title="Feedback Alignment",
    circuit={**ONE_TO_ONE, "plastic": ("w",)},
    numbers={"rate_w": 0.03, "decay": 0.0, "scale_w": 1.0, "scale_w_bar": 1.0},
    space={"rate_w": (0.01, 0.3), "decay/rate_w": (1e-5, 3e-3), "scale_w": (0.4, 1.2), "scale_w_bar": (0.1, 1.0)},
    source="Lillicrap, Cownden, Tweed and Akerman 2016",
)
kp = Rule(
    name="kp",
    title="Kolen–Pollack",
    circuit={**ONE_TO_ONE, "plastic": ("w", "w_bar")},
    numbers={"rate_w": 0.1, "decay": 1e-4, "scale_w": 1.0, "scale_w_bar": 1.0},
    ties={"rate_w_bar": "rate_w"},  # else W - W̄ᵀ would not shrink
    space={"rate_w": (0.05, 0.8), "decay/rate_w": (1e-4, 1e-2), "scale_w": (0.4, 1.2), "scale_w_bar": (0.1, 1.0)},
    source="Kolen and Pollack 1994; Akrout et al. 2019",
)
sam = Rule(
    name="sam",
    title="SAM",
    circuit={"downstream_activation": "identity", "plastic": PATHWAYS},
    numbers={
        "rate_w": 0.25,
        "rate_w_bar": 0.075,
        "rate_v": 0.5,
        "rate_v_bar": 1.0,
        "decay": 2.5e-4,
        "scale_w": 1.0,
        "scale_w_bar": 0.3,
        "scale_v": 1.0,
        "scale_v_bar": 1.2,
    },
    space={
        "rate_w": (0.15, 0.6),
        "rate_w_bar/rate_w": (0.5, 1.5),
        "rate_v/rate_w": (0.1, 0.6),
        "rate_v_bar/rate_w": (0.1, 2.0),
        "decay/rate_w": (1e-4, 1e-3),
        "scale_w": (0.4, 0.8),
        "scale_w_bar": (0.4, 0.8),
        "scale_v": (0.1, 0.8),
        "scale_v_bar": (0.15, 0.8),
    },
    source="Liao, Ziyin, Gan, Cheung, Harnett and Poggio 2026",
)
