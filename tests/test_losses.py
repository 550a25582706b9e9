"""Losses against autodiff, optax and closed forms; accuracy and AUC against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from stepping import LOSS_NAMES

from sam_jax import losses

CLASSES = 4


def answers(name, examples=6, seed=0):
    """ŷ [B, K] and labels fit for the loss."""
    random = np.random.default_rng(seed)
    y_hat = jnp.asarray(3 * random.normal(size=(examples, CLASSES)))
    several = name == "sigmoid_cross_entropy"
    labels = random.integers(2, size=y_hat.shape) if several else random.integers(CLASSES, size=examples)
    return y_hat, jnp.asarray(labels)


def rows(labels):
    return labels if labels.ndim == 2 else np.eye(CLASSES)[labels]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", LOSS_NAMES)
def test_error_is_minus_the_gradient_of_value(name, several, float64):
    """Of rows of several labels too, which need not sum to one."""
    loss, (y_hat, labels) = losses.LOSSES[name], answers("sigmoid_cross_entropy" if several else name)
    expected = -jax.grad(lambda y: loss.value(y, labels).sum())(y_hat)
    np.testing.assert_allclose(loss.error(y_hat, labels), expected, rtol=1e-12, atol=1e-14)


def test_values_and_scores_against_optax(float64):
    y_hat, labels = answers("cross_entropy")
    expected = optax.softmax_cross_entropy_with_integer_labels(y_hat, labels)
    np.testing.assert_allclose(losses.cross_entropy.value(y_hat, labels), expected, rtol=1e-12)
    np.testing.assert_allclose(losses.cross_entropy.scores(y_hat).sum(axis=1), 1.0, rtol=1e-12)

    expected = optax.squared_error(y_hat, jnp.asarray(rows(labels))).sum(axis=1)
    np.testing.assert_allclose(losses.mse.value(y_hat, labels), expected, rtol=1e-12)
    np.testing.assert_array_equal(losses.mse.scores(y_hat), y_hat)

    y_hat, labels = answers("sigmoid_cross_entropy")
    expected = optax.sigmoid_binary_cross_entropy(y_hat, labels).sum(axis=1)
    np.testing.assert_allclose(losses.sigmoid_cross_entropy.value(y_hat, labels), expected, rtol=1e-12)
    np.testing.assert_allclose(losses.sigmoid_cross_entropy.scores(y_hat), 1 / (1 + np.exp(-y_hat)), rtol=1e-12)


def test_closed_forms(float64):
    nothing_known, label = jnp.zeros((1, CLASSES)), jnp.array([2])
    several = jnp.array([[1, 0, 1, 0]])
    np.testing.assert_allclose(losses.cross_entropy.value(nothing_known, label), np.log(CLASSES))
    np.testing.assert_allclose(losses.cross_entropy.error(nothing_known, label), [[-0.25, -0.25, 0.75, -0.25]])
    np.testing.assert_allclose(losses.mse.value(jnp.array([[1.0, 0, 3, 0]]), label), 1 + 2**2)
    np.testing.assert_allclose(losses.mse.error(jnp.array([[1.0, 0, 3, 0]]), label), [[-2, 0, -4, 0]])  # 2 (y - ŷ)
    np.testing.assert_allclose(losses.sigmoid_cross_entropy.value(nothing_known, several), CLASSES * np.log(2))
    np.testing.assert_allclose(losses.sigmoid_cross_entropy.error(nothing_known, several), [[0.5, -0.5, 0.5, -0.5]])


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_certain_answers_stay_finite(name):
    loss, (_, labels) = losses.LOSSES[name], answers(name)
    y_hat = jnp.asarray(1e4 * (2 * rows(labels) - 1), jnp.float32)
    for sign in (1, -1):
        assert jnp.isfinite(loss.value(sign * y_hat, labels)).all()
        assert jnp.isfinite(loss.error(sign * y_hat, labels)).all()
    if name != "mse":  # right and certain costs nothing, wrong and certain costs something
        assert (loss.value(y_hat, labels) == 0).all()
        assert (loss.value(-y_hat, labels)[rows(labels).sum(axis=1) > 0] > 1e4).all()


@pytest.mark.parametrize("name", LOSS_NAMES)
@pytest.mark.parametrize("label_type", [np.uint8, np.int32])
def test_float32_in_float32_out(name, label_type):
    loss, (y_hat, labels) = losses.LOSSES[name], answers(name)
    for function in (loss.value, loss.error):
        assert function(y_hat, labels.astype(label_type)).dtype == jnp.float32


def test_accuracy_by_hand():
    scores = jnp.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3], [0.0, 0.4, 0.6], [0.3, 0.3, 0.4]])
    assert losses.accuracy(scores, jnp.array([1, 0, 2, 2])) == 1.0
    assert losses.accuracy(scores, jnp.array([1, 0, 2, 0])) == 0.75
    assert losses.accuracy(scores, jnp.array([0, 1, 0, 0])) == 0.0
    # several labels: the share of the 12 that are on the right side of 1/2
    true = jnp.array([[0, 1, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]])
    assert losses.accuracy(scores, true) == 1.0  # 0.5 is not above 1/2
    assert losses.accuracy(scores, 1 - true) == 0.0
    np.testing.assert_allclose(losses.accuracy(scores, true.at[0].set(jnp.array([1, 1, 1]))), 10 / 12)


def pairs_auc(scores, positive):
    """The share of (positive, negative) pairs in the right order; a tie is half a pair."""
    wins = [(p > n) + 0.5 * (p == n) for p in scores[positive] for n in scores[~positive]]
    return sum(wins) / len(wins)


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_macro_auc_counts_pairs(several, seed):
    random = np.random.default_rng(seed)
    scores = random.integers(4, size=(20, 5)) / 4  # many ties
    labels = random.integers(2, size=(20, 5)) if several else random.integers(4, size=20)  # class 4 absent
    if several:
        labels[:, 3], labels[:, 4] = 1, 0  # neither has a curve
    positive = labels > 0 if several else labels[:, None] == np.arange(5)
    with_curve = range(3) if several else range(4)
    expected = np.mean([pairs_auc(scores[:, k], positive[:, k]) for k in with_curve])
    np.testing.assert_allclose(losses.macro_auc(scores, labels), expected, rtol=1e-12)


def test_macro_auc_by_hand():
    scores = np.array([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3], [0.7, 0.3]])
    assert losses.macro_auc(scores, np.array([1, 1, 0, 0])) == 1.0
    assert losses.macro_auc(scores, np.array([0, 0, 1, 1])) == 0.0
    assert losses.macro_auc(np.ones((4, 2)), np.array([1, 1, 0, 0])) == 0.5
    assert np.isnan(losses.macro_auc(scores, np.zeros(4, int)))  # one class only: no curve
    assert np.isnan(losses.macro_auc(np.where(scores == 0.1, np.nan, scores), np.array([1, 1, 0, 0])))
