"""Angles and norm ratios against matrices whose angles are known."""

import jax.numpy as jnp
import numpy as np
import pytest

import sam_jax as sj
from sam_jax import probes


@pytest.mark.parametrize(
    ("b", "degrees"), [([[2.0, 0.0]], 0.0), ([[0.0, 3.0]], 90.0), ([[-1.0, 0.0]], 180.0), ([[1.0, 1.0]], 45.0)]
)
def test_angle(b, degrees):
    np.testing.assert_allclose(probes.angle(jnp.array([[1.0, 0.0]]), jnp.array(b)), degrees, atol=0.03)


def test_feedback_equal_to_the_transpose_has_no_angle_and_its_own_scale():
    random = np.random.default_rng(0)
    w = tuple(jnp.asarray(random.normal(size=shape), jnp.float32) for shape in ((5, 7), (4, 5), (3, 4)))
    synapses = sj.Synapses(w=w, w_bar=tuple(2.5 * matrix.T for matrix in w[1:]))
    found = probes.alignment(sj.fa((7, 5, 4, 3)), synapses)
    assert set(found) == {"w_bar_angle", "w_bar_norm_ratio"}
    np.testing.assert_allclose(found["w_bar_angle"], [0, 0], atol=0.05)
    np.testing.assert_allclose(found["w_bar_norm_ratio"], [2.5, 2.5], rtol=1e-6)


def test_interstream_pathways_are_compared_and_unequal_widths_are_not():
    v = (jnp.eye(2, 3),)
    synapses = sj.Synapses(w=(jnp.ones((3, 4)), jnp.ones((5, 3))), w_bar=(jnp.ones((2, 5)),), v=v, v_bar=(-v[0].T,))
    found = probes.alignment(sj.sam((4, 3, 5), (2,)), synapses)
    assert set(found) == {"v_angle"}  # W̄ is 2 x 5, Wᵀ 3 x 5
    np.testing.assert_allclose(found["v_angle"], [180.0], atol=0.05)


def test_a_rule_without_feedback_matrices_has_nothing_to_compare():
    circuit = sj.sgd((4, 3, 2))
    assert probes.alignment(circuit, sj.Synapses(w=(jnp.ones((3, 4)), jnp.ones((2, 3))))) == {}
