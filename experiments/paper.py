"""What the paper prints and claims: Table 1 in percent, mean and spread of five runs; Table 2; CLAIMS, and their tests.

The paper does not say which split or measure each column is. ChestMNIST's cannot be an accuracy,
since predicting "nothing" is already right for about 94.8 % of its labels: it is read as the AUC.
Fashion-MNIST's is above what such networks reach on test images; it is nearer to training accuracy.
"""

import pathlib
from typing import NamedTuple

from sam_jax.lab import Experiment

RULES = ("sgd", "fa", "wm", "kp", "sam")
_MEAN = {  # in the order of RULES
    "cifar10": (50.36, 47.85, 49.35, 48.16, 51.91),
    "mnist": (98.44, 97.80, 98.40, 98.45, 98.85),
    "fashion_mnist": (96.80, 95.75, 96.00, 96.13, 97.23),
    "chestmnist": (73.26, 70.44, 70.14, 71.03, 73.21),
    "pathmnist": (70.11, 69.90, 70.00, 69.51, 70.23),
    "svhn": (78.20, 78.03, 78.08, 78.20, 78.50),
    "stl10": (41.00, 39.29, 39.48, 40.32, 41.50),
}
_SPREAD = {
    "cifar10": (0.16, 0.20, 0.13, 0.09, 0.21),
    "mnist": (0.09, 0.19, 0.23, 0.09, 0.10),
    "fashion_mnist": (0.05, 0.20, 0.25, 0.07, 0.08),
    "chestmnist": (0.14, 0.27, 0.08, 0.10, 0.11),
    "pathmnist": (0.10, 0.10, 0.15, 0.05, 0.15),
    "svhn": (0.13, 0.15, 0.15, 0.05, 0.07),
    "stl10": (0.07, 0.23, 0.19, 0.11, 0.10),
}
SETS = tuple(_MEAN)
AUC_COLUMNS = ("chestmnist",)
CONFIGS = pathlib.Path(__file__).parent / "configs"
REMARKS = {
    "fashion_mnist": "The paper's numbers are above what such networks reach on test images, nearer to training ones.",
    "chestmnist": "The paper's numbers are read as AUC × 100.",
    "pathmnist": "The test images come from another hospital than the training and validation images.",
}


def table1(dataset: str, rule: str, measure: str = "accuracy") -> tuple[float, float] | None:
    """Table 1's (mean, spread) in percent; None where it has no such number.

    `measure` is "accuracy" or "auc": a number is given only for the measure it is read as.
    """
    if dataset not in _MEAN or rule not in RULES or (measure == "auc") != (dataset in AUC_COLUMNS):
        return None
    place = RULES.index(rule)
    return _MEAN[dataset][place], _SPREAD[dataset][place]


def published(dataset: str, arm: str, measure: str) -> float | None:
    """Table 1's mean, where it has one."""
    return (table1(dataset, arm, measure) or (None,))[0]


def experiment(name, doc, arms, make, **fields) -> Experiment:
    """An experiment on this paper: with its numbers beside ours, and the searched configs."""
    return Experiment(name, arms, make, doc, configs=CONFIGS, published=published, remarks=REMARKS, **fields)


# Table 2: connectivity of u→u, d→d, u→d, d→u, then plasticity of the same. It has no row for Kolen–Pollack.
TABLE2 = {
    "sgd": (True, False, False, False, True, False, False, False),
    "fa": (True, True, False, False, True, False, False, False),
    "wm": (True, True, False, False, True, True, False, False),
    "sam": (True, True, True, True, True, True, True, True),
}


class Claim(NamedTuple):
    """One thing the paper says that an experiment can confirm or refute."""

    title: str  # the claim in one sentence, in our words
    source: str  # where the paper makes it
    script: str  # the experiment that tests it
    of_numbers: bool = True  # whether rates, decays or lengths can change what comes out


CLAIMS = {
    "table1": Claim(
        "SAM is at least as accurate as SGD on six of seven data sets, and more accurate than FA, WM and KP on all.",
        "Table 1, lines 422–425",
        "experiments/table1.py",
    ),
    "table2": Claim(
        "Of the rules compared, only SAM has all four pathways and all four plastic: eight criteria tell them apart.",
        "Table 2, lines 182–186",
        "experiments/table2.py",
        of_numbers=False,
    ),
    "fig2": Claim(
        "Plastic W alone stays near a linear network, V̄ adds the most of any one pathway, and all four reach SGD.",
        "Figure 2, lines 101–108 and 460–470",
        "experiments/fig2_ablation.py",
    ),
    "scalar_error": Claim(
        "One scalar error shared by all neurons of a layer teaches clearly worse than a vector.",
        "Lines 88–92 and 160–163",
        "experiments/scalar_error.py",
    ),
    "s1a": Claim(
        "Training turns V̄V̄ᵀ and WWᵀ from nearly diagonal into correlated matrices of low effective rank.",
        "Figure S1a, lines 439–446",
        "experiments/fig_s1a_representations.py",
    ),
    "s1b": Claim(
        "V̄ settles: its steps shrink towards zero during training, and those of the loss shrink with them.",
        "Figure S1b, lines 406–407",
        "experiments/fig_s1b_stationarity.py",
    ),
    "s1d": Claim(
        "A wider downstream stream makes the network better, up to about 7.5 times the upstream width.",
        "Figure S1d, lines 431–436",
        "experiments/fig_s1d_overparametrization.py",
    ),
    "s2": Claim(
        "Among 64 combinations of the four learning rates, the best has the smallest η_V.",
        "Figure S2",
        "experiments/fig_s2_learning_rates.py",
    ),
    "lemma1": Claim(
        "Where V and V̄ have stopped changing, V̄ is the transpose of V (with equal rates).",
        "Lemma 1, lines 478–484",
        "experiments/theory.py",
    ),
    "theorem3": Claim(
        "Once V and V̄ hardly change, SAM's step of W is SGD's step times the positive definite V̄V̄ᵀ, less the decay.",
        "Theorem 3, lines 506–531",
        "experiments/theory.py",
    ),
    "proposition1": Claim(
        "Following the gradient through any positive semidefinite matrix never raises the loss.",
        "Proposition 1, lines 537–541",
        "experiments/theory.py",
        of_numbers=False,
    ),
    "reductions": Claim(
        "With identity V and V̄ and the gate as D_d, SAM is exactly backprop, Feedback Alignment or Kolen–Pollack.",
        "Lines 331–337",
        "experiments/variants.py",
        of_numbers=False,
    ),
    "widths": Claim(
        "SAM learns about as well where the upstream and downstream layers have different widths.",
        "Lines 56–59 and 173–176",
        "experiments/variants.py",
    ),
    "downstream_nonlinearity": Claim(
        "SAM learns about as well with any nonlinearity D_d of the downstream stream.",
        "Lines 396–400",
        "experiments/variants.py",
    ),
    "postsynaptic_signal": Claim(
        "SAM learns about as well with either postsynaptic signal, gated by the neuron's own activity or not.",
        "Lines 347–352",
        "experiments/variants.py",
    ),
    "rate_order": Claim(
        "V̄ needs the largest learning rate, about four times that of W, and V the smallest.",
        "Lines 473–476, Figure S2",
        "experiments/fig_s2_learning_rates.py",
    ),
    "predictions": Claim(
        "Stopping the plasticity of V̄ takes away what H adds to learning, even while W stays plastic.",
        "Lines 146–152, Discussion, lines 171–176 and 187–195",
        "experiments/predictions.py",
    ),
}
