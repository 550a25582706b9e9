"""Losses F, their errors ε = -∂F/∂ŷ, and the scores that accuracy and AUC are made of.

Shapes: ŷ [B, K] for K classes; labels int [B] (one class each) or 0/1 [B, K] (multi-label).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Loss(NamedTuple):
    """A loss as functions of (ŷ, labels).

    Attributes:
      name: its name in LOSSES.
      value: F for each example, [B].
      error: ε = -∂F/∂ŷ for each example, [B, K].
      scores: ŷ -> the class scores [B, K]: the largest, or those above 1/2, are the prediction.

    >>> import jax.numpy as jnp, sam_jax as sj
    >>> loss, y_hat, labels = sj.losses.mse, jnp.array([[1.0, 0.0]]), jnp.array([1])
    >>> loss.value(y_hat, labels).tolist(), loss.error(y_hat, labels).tolist()
    ([2.0], [[-2.0, 2.0]])
    """

    name: str
    value: Callable
    error: Callable
    scores: Callable


def targets(y_hat, labels):
    """Labels as rows [B, K]: one-hot classes, or the rows themselves.

    Raises:
      ValueError: one number an image that is no class; classes out of range, where their values are known.

    >>> import jax.numpy as jnp, sam_jax as sj
    >>> sj.losses.targets(jnp.zeros((2, 3)), jnp.array([2, 0])).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    classes = y_hat.shape[1]
    if labels.ndim != 1:
        return labels.astype(y_hat.dtype)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels are {labels.dtype} [B], expected classes (integers [B]) or rows [B, {classes}]")
    if labels.size and not isinstance(labels, jax.core.Tracer):
        known = np.asarray(labels)
        low, high = int(known.min()), int(known.max())
        if low < 0 or high >= classes:
            raise ValueError(f"labels are {low}..{high}, expected classes 0..{classes - 1}: one for each output")
    return jax.nn.one_hot(labels, classes, dtype=y_hat.dtype)


def _cross_entropy_error(y_hat, labels):
    """Rows of several labels need not sum to one: F's normaliser contributes a softmax for each of a row's labels."""
    rows, softmax = targets(y_hat, labels), jax.nn.softmax(y_hat)
    return rows - (softmax if labels.ndim == 1 else rows.sum(axis=1, keepdims=True) * softmax)


cross_entropy = Loss(
    "cross_entropy",
    value=lambda y_hat, labels: -jnp.sum(targets(y_hat, labels) * jax.nn.log_softmax(y_hat), axis=1),
    error=_cross_entropy_error,
    scores=jax.nn.softmax,
)
mse = Loss(
    "mse",
    value=lambda y_hat, labels: jnp.sum((targets(y_hat, labels) - y_hat) ** 2, axis=1),
    error=lambda y_hat, labels: 2 * (targets(y_hat, labels) - y_hat),
    scores=lambda y_hat: y_hat,
)
sigmoid_cross_entropy = Loss(
    "sigmoid_cross_entropy",
    value=lambda y_hat, labels: jnp.sum(jax.nn.softplus(y_hat) - targets(y_hat, labels) * y_hat, axis=1),
    error=lambda y_hat, labels: targets(y_hat, labels) - jax.nn.sigmoid(y_hat),
    scores=jax.nn.sigmoid,
)
LOSSES = {loss.name: loss for loss in (cross_entropy, mse, sigmoid_cross_entropy)}


def accuracy(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """The share of right predictions, 0 to 1: of examples, or of all labels where there are several.

    Multi-label accuracy is MedMNIST's mean per-label accuracy at a threshold of 1/2 (Yang et al. 2023).

    Args:
      scores: [B, K], as a loss's `scores` gives them.
      labels: [B], or 0/1 [B, K].

    >>> import jax.numpy as jnp, sam_jax as sj
    >>> float(sj.losses.accuracy(jnp.array([[0.9, 0.1], [0.8, 0.2]]), jnp.array([0, 1])))
    0.5
    >>> float(sj.losses.accuracy(jnp.array([[0.9, 0.1], [0.8, 0.2]]), jnp.array([[1, 0], [1, 1]])))
    0.75
    """
    right = jnp.argmax(scores, axis=1) == labels if labels.ndim == 1 else (scores > 0.5) == (labels > 0)
    return jnp.mean(right)


def macro_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The area under the ROC curve, 0 to 1, each class against the rest, averaged over classes.

    MedMNIST's AUC (Yang et al. 2023). A class without positive or without negative examples has no
    curve and is left out; NaN where no class has one, or a score is not finite.

    Args:
      scores: [B, K].
      labels: [B], or 0/1 [B, K].

    >>> import numpy as np, sam_jax as sj
    >>> scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> sj.losses.macro_auc(scores, np.array([0, 0, 1]))
    1.0
    >>> sj.losses.macro_auc(scores, np.array([1, 1, 0]))
    0.0
    """
    from sklearn.metrics import roc_auc_score

    positive = labels > 0 if labels.ndim == 2 else labels[:, None] == np.arange(scores.shape[1])
    ranked = [k for k in range(scores.shape[1]) if 0 < positive[:, k].sum() < len(positive)]
    if not ranked or not np.isfinite(scores).all():
        return float("nan")
    return float(np.mean([roc_auc_score(positive[:, k], scores[:, k]) for k in ranked]))
