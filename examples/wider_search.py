"""SAM, SGD and Kolen–Pollack with more to search: momentum, and SAM's decay of V and of V̄; another start of V and V̄.

SAM's decay and first W and W̄ have ranges as wide as the other two's here: in its own space they are narrower.
`sam_aligned` begins where Lemma 1 ends: the columns of V are orthonormal and V̄ = Vᵀ, so that H = I. That is an
extension of ours, not the paper's.

    python experiments/search.py --dataset=cifar10 --trials=64 --rungs=1,4,12 --rules=examples/wider_search.py:sam_wide
"""

from sam_jax.experiments.factorial import aligned_init

import sam_jax as sj

MOMENTUM = {"momentum": (0.1, 0.95)}


def wide(rule, name, **more):
    """The rule with momentum in its space; the rates' lower ends are a fifth, since momentum multiplies a step."""
    low, high = rule.space["rate_w"]
    return rule.replace(name=name, space={**rule.space, "rate_w": (low / 5, high), **MOMENTUM, **more})


RANGES = {"decay/rate_w": (3e-5, 5e-3), "scale_w": (0.4, 1.2), "scale_w_bar": (0.1, 1.0)}
DECAYS = {"decay_v/decay": (0.1, 30), "decay_v_bar/decay": (0.1, 30)}
sam_wide = wide(sj.sam, "sam_wide", **RANGES, **DECAYS).replace(title="SAM, searched more widely")
sam_aligned = sam_wide.replace(
    name="sam_aligned",
    title="SAM, V̄ = Vᵀ at first",
    init=aligned_init,
    space={name: bounds for name, bounds in sam_wide.space.items() if name not in ("scale_v", "scale_v_bar")},
)
sgd_wide = wide(sj.sgd, "sgd_wide").replace(title="SGD with momentum")
kp_wide = wide(sj.kp, "kp_wide").replace(title="Kolen–Pollack with momentum")
