"""What a pathway can be: today a dense matrix [post, pre], full from layer to layer.

The equations need three things of a pathway, whatever it is made of: what it sends on, what comes back
through it, and the change that a pre- and a postsynaptic signal call for. All three are linear in each
argument, and `back` and `hebb` follow from `send`: they are its transposes. A convolution, or a matrix
with a column of biases, would be another such triple here; nothing else in `dynamics.py` would change.

Signals are rows: B examples, [B, neurons].
"""

import jax
import jax.numpy as jnp


def send(matrix: jax.Array, pre: jax.Array) -> jax.Array:
    """What the postsynaptic neurons receive: [post, pre], [B, pre] -> [B, post]."""
    return pre @ matrix.T


def back(matrix: jax.Array, post: jax.Array) -> jax.Array:
    """The same synapses the other way, which only a tied pathway uses: [post, pre], [B, post] -> [B, pre]."""
    return post @ matrix


def hebb(post: jax.Array, pre: jax.Array) -> jax.Array:
    """The batch average of post preᵀ: [B, post], [B, pre] -> [post, pre]."""
    return post.T @ pre / post.shape[0]


def hebb_through(matrix: jax.Array, post: jax.Array, pre: jax.Array) -> jax.Array:
    """`hebb(send(matrix, post), pre)` in the order that multiplies less: M (postᵀ pre) or (M postᵀ) pre."""
    return jnp.linalg.multi_dot([matrix, post.T, pre]) / post.shape[0]


def draw(
    key: jax.Array, shape: tuple[int, int], scale: jax.Array | float, fan_in: int, initial: str = "normal"
) -> jax.Array:
    """A random matrix [post, pre] with standard deviation scale / sqrt(fan_in): Gaussian, or uniform about 0."""
    if initial == "uniform":  # on [-1, 1] its variance is a third
        return scale * (3 / fan_in) ** 0.5 * jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
    return scale / fan_in**0.5 * jax.random.normal(key, shape)
