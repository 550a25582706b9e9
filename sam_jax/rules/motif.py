"""The circuit's own rules: SAM, and what it becomes when some of its pathways are held (paper, lines 331-337).

What a rule holds fixed is all that sets it apart: it is a row of settings, and has no code. The numbers are those that
an equally long search chose for each (results/search), at the smallest overall factor that it chose for a data set;
SAM's are at half of it, since on small easy problems the whole diverges (testing.py).
"""

from sam_jax.circuit import PATHWAYS
from sam_jax.rule import Rule

ONE_TO_ONE = {"one_to_one": True, "downstream_activation": "gate"}  # V = V̄ = I, D_d = D_u

sgd = Rule(
    name="sgd",
    title="SGD",
    circuit={**ONE_TO_ONE, "feedback_weights": "tied", "plastic": ("w",)},
    numbers={"rate_w": 0.344, "decay": 3.28e-4, "scale_w": 1.1},
    space={"rate_w": (0.05, 0.8), "decay/rate_w": (1e-5, 3e-3), "scale_w": (0.4, 1.2)},
    source="Rumelhart, Hinton and Williams 1986",
)
fa = Rule(
    name="fa",
    title="Feedback Alignment",
    circuit={**ONE_TO_ONE, "plastic": ("w",)},
    numbers={"rate_w": 0.0718, "decay": 3.68e-5, "scale_w": 0.833, "scale_w_bar": 0.745},
    space={"rate_w": (0.01, 0.3), "decay/rate_w": (1e-5, 3e-3), "scale_w": (0.4, 1.2), "scale_w_bar": (0.1, 1.0)},
    source="Lillicrap, Cownden, Tweed and Akerman 2016",
)
kp = Rule(
    name="kp",
    title="Kolen–Pollack",
    circuit={**ONE_TO_ONE, "plastic": ("w", "w_bar")},
    numbers={"rate_w": 0.477, "decay": 2.23e-4, "scale_w": 0.908, "scale_w_bar": 0.143},
    ties={"rate_w_bar": "rate_w"},  # else W - W̄ᵀ would not shrink
    space={"rate_w": (0.05, 0.8), "decay/rate_w": (1e-4, 1e-2), "scale_w": (0.4, 1.2), "scale_w_bar": (0.1, 1.0)},
    source="Kolen and Pollack 1994; Akrout et al. 2019",
)
sam = Rule(
    name="sam",
    title="SAM",
    circuit={"downstream_activation": "identity", "plastic": PATHWAYS},
    numbers={
        "rate_w": 0.138,
        "rate_w_bar": 0.134,
        "rate_v": 0.0226,
        "rate_v_bar": 0.0235,
        "decay": 3.11e-5,
        "scale_w": 0.683,
        "scale_w_bar": 0.791,
        "scale_v": 0.107,
        "scale_v_bar": 0.299,
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
