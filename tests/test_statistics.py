"""Intervals and tests against closed forms of Student's t with one and two degrees of freedom, and against scipy's."""

import math

import numpy as np
import pytest
import scipy.stats

from sam_jax.lab import statistics
from sam_jax.lab.statistics import Estimate, Paired

# Quantiles at 97.5 %: one degree of freedom is Cauchy's distribution, two have an algebraic inverse.
T1 = math.tan(math.pi * 0.475)
T2 = 0.95 / math.sqrt(2 * 0.975 * 0.025)
T4 = 2.7764451  # as printed in tables of t


def test_estimate_of_two_and_of_three():
    two = statistics.estimate([1.0, 3.0])  # sd √2, standard error 1
    np.testing.assert_allclose(two, [2, 2 - T1, 2 + T1, math.sqrt(2), 2, 0], rtol=1e-12)
    three = statistics.estimate(iter([1.0, 2.0, 3.0]))  # sd 1, standard error 1/√3
    np.testing.assert_allclose(three, [2, 2 - T2 / math.sqrt(3), 2 + T2 / math.sqrt(3), 1, 3, 0], rtol=1e-12)


def test_estimate_of_five_against_a_printed_quantile():
    found = statistics.estimate([51.0, 52.0, 53.0, 54.0, 55.0])  # sd √2.5, standard error √0.5
    np.testing.assert_allclose(found.sd, math.sqrt(2.5))
    np.testing.assert_allclose([found.low, found.high], [53 - T4 * math.sqrt(0.5), 53 + T4 * math.sqrt(0.5)], rtol=1e-8)


def test_the_interval_covers_the_mean_in_95_of_100_samples():
    random = np.random.default_rng(0)
    samples = [statistics.estimate(random.normal(7.0, 3.0, size=4)) for _ in range(2000)]
    share = np.mean([found.low <= 7.0 <= found.high for found in samples])
    assert abs(share - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


def test_estimate_leaves_out_and_counts_what_diverged():
    assert statistics.estimate([None, 1.0, None, 3.0])[:1] == (2.0,)
    assert statistics.estimate([None, 1.0, math.nan, 3.0])[-2:] == (2, 2)
    assert statistics.estimate([4.0, None]) == Estimate(4.0, None, None, None, 1, 1)
    assert statistics.estimate([None] * 3) == Estimate(None, None, None, None, 0, 3)
    assert statistics.estimate([]) == Estimate(None, None, None, None, 0, 0)


def test_estimate_of_equal_values_has_no_width():
    assert statistics.estimate([0.1] * 3)[1:] == (0.1, 0.1, 0.0, 3, 0)


def test_paired_with_one_and_two_degrees_of_freedom():
    # Differences 1, 3: t = 2. Cauchy: p = 1 - 2/π arctan t.
    found = statistics.paired({0: 11.0, 1: 23.0}, {1: 20.0, 0: 10.0})
    expected = [2, 2 - T1, 2 + T1, 1 - 2 / math.pi * math.atan(2), 2, 0]
    np.testing.assert_allclose(found[:-1], expected, rtol=1e-12)
    assert found.test == "paired t-test, two-sided"
    # Differences -1, -2, -3: t = -2√3. Two degrees of freedom: p = 1 - |t| / √(2 + t²).
    found = statistics.paired({0: 0.0, 1: 0.0, 2: 0.0}, {0: 1.0, 1: 2.0, 2: 3.0})
    half = T2 / math.sqrt(3)
    np.testing.assert_allclose(found[:-1], [-2, -2 - half, -2 + half, 1 - math.sqrt(12 / 14), 3, 0], rtol=1e-12)


def test_paired_is_scipys_paired_test_and_not_the_unpaired_one():
    random = np.random.default_rng(1)
    shared = random.normal(50, 5, size=6)
    a, b = shared + 0.3 + random.normal(0, 0.2, size=6), shared + random.normal(0, 0.2, size=6)
    found = statistics.paired(dict(enumerate(a)), dict(enumerate(b)))
    reference = scipy.stats.ttest_rel(a, b)
    np.testing.assert_allclose(found.p, reference.pvalue, rtol=1e-9)
    np.testing.assert_allclose([found.low, found.high], reference.confidence_interval(0.95), rtol=1e-9)
    assert found.p < 0.1 < scipy.stats.ttest_ind(a, b).pvalue


def test_swapping_the_members_only_turns_the_sign():
    a, b = {0: 1.0, 1: 2.5, 2: 2.0}, {0: 0.5, 1: 1.0, 2: 3.0}
    one, other = statistics.paired(a, b), statistics.paired(b, a)
    np.testing.assert_allclose(one[:5], [-other.difference, -other.high, -other.low, other.p, other.n], rtol=1e-12)


def test_pairs_with_a_lost_or_missing_member_are_counted():
    a = {0: 5.0, 1: None, 2: 7.0, 3: 1.0, 4: math.inf}
    b = {0: 4.0, 1: 2.0, 2: 4.0, 9: 1.0, 4: 1.0}  # seeds 0 and 2 are whole; 1, 3, 4 and 9 are not
    found = statistics.paired(a, b)
    assert (found.n, found.lost) == (2, 4)
    np.testing.assert_allclose(found.difference, 2.0)  # of 1 and 3, as above
    np.testing.assert_allclose(found.high, 2 + T1)


def test_too_few_pairs_for_a_test():
    assert statistics.paired({0: 3.0, 1: 1.0}, {0: 1.0}) == Paired(2.0, None, None, None, 1, 1)
    assert statistics.paired({0: None}, {1: 2.0}) == Paired(None, None, None, None, 0, 2)
    assert statistics.paired({}, {}) == Paired(None, None, None, None, 0, 0)


@pytest.mark.parametrize(("shift", "p"), [(0.0, 1.0), (0.5, 0.0), (-0.5, 0.0)])
def test_equal_differences_have_no_variance_and_raise_no_warning(shift, p):
    a = {seed: seed + shift for seed in range(4)}
    assert statistics.paired(a, dict(enumerate(range(4)))) == Paired(shift, shift, shift, p, 4, 0)


def test_almost_equal_differences_raise_no_warning():
    found = statistics.paired({0: 1.0, 1: 1.0, 2: 1.0 + 1e-15}, {0: 0.0, 1: 0.0, 2: 0.0})
    assert 0 <= found.p < 1e-20


@pytest.mark.parametrize(
    ("paired", "text"),
    [
        (
            Paired(-1.344, -1.8, -0.882, 0.0012, 5, 0),
            "-1.34 points [-1.80, -0.88], p = 0.0012, paired t-test, n = 5",
        ),
        (
            Paired(1.0, 0.5, 1.5, 9e-5, 4, 1),
            "+1.00 points [+0.50, +1.50], p < 0.0001, paired t-test, n = 4, 1 of 5 pairs lost",
        ),
        (Paired(-0.001, -1.0, 1.0, 1e-4, 3, 0), "+0.00 points [-1.00, +1.00], p = 0.0001, paired t-test, n = 3"),
        (Paired(2.0, None, None, None, 1, 2), "+2.00 points, n = 1, 2 of 3 pairs lost"),
        (Paired(None, None, None, None, 0, 2), "no pairs, 2 of 2 pairs lost"),
        (Paired(None, None, None, None, 0, 0), "no pairs"),
    ],
)
def test_describe(paired, text):
    assert statistics.describe(paired) == text


def test_describe_names_its_unit():
    assert statistics.describe(Paired(3.0, None, None, None, 1, 0), unit="degrees") == "+3.00 degrees, n = 1"


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(51.849, 51.21, 52.488, 0.4, 5, 0), "51.85 [51.21, 52.49]"),
        (Estimate(51.849, None, None, None, 1, 4), "51.85"),
        (Estimate(None, None, None, None, 0, 5), "–"),
    ],
)
def test_interval(estimate, text):
    assert statistics.interval(estimate) == text


@pytest.mark.parametrize(
    ("low", "high", "threshold", "said"),
    [
        (0.1, 0.3, 0.0, "holds"),
        (0.0, 0.3, 0.0, "undecided"),
        (-0.1, 0.3, 0.0, "undecided"),
        (-0.1, 0.0, 0.0, "undecided"),
        (-0.3, -0.1, 0.0, "does not hold"),
        (-0.3, -0.1, -0.5, "holds"),
        (0.1, 0.3, 0.5, "does not hold"),
        (None, None, 0.0, "undecided"),
    ],
)
def test_outcome(low, high, threshold, said):
    assert statistics.outcome(low, high, threshold) == said


def test_what_is_equal_seed_for_seed_is_not_above():
    """Two arms that answer the most frequent label alike have shown nothing."""
    equal = statistics.paired({0: 21.6, 1: 21.6, 2: 21.6}, {0: 21.6, 1: 21.6, 2: 21.6})
    assert statistics.outcome(equal.low, equal.high) == "undecided"
    assert statistics.outcome(equal.low, equal.high, threshold=-1) == "holds"
    assert statistics.outcome(equal.low, equal.high, threshold=1) == "does not hold"
