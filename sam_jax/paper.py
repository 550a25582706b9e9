"""What the paper prints, for comparison: Table 1, in percent, mean and spread over five runs.

The paper does not say which split or measure each column is. ChestMNIST's cannot be an accuracy,
since predicting "nothing" is already right for about 94.8 % of its labels: it is read as the AUC.
Fashion-MNIST's is above what such networks reach on test images; it fits training accuracy.
"""

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
AUC_COLUMNS = ("chestmnist",)
REMARKS = {
    "fashion_mnist": "The paper's numbers are above what such networks reach on test images and fit training accuracy.",
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
