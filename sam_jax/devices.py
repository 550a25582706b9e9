"""Many runs at once: one after the other or side by side on a device, and whole runs shared out over devices.

R runs are S settings x K seeds, setting by setting: run i has seed i mod K. A run never leaves its device, so no
device waits for another, and on a CPU a run's numbers are the same whatever runs beside it, bit for bit.
"""

import math
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "runs"


class Layout(NamedTuple):
    """How R runs lie on the devices of this process; hashable, since another layout is another program.

    Attributes:
      devices: how many of `jax.local_devices()` have work.
      each: runs on each device; the last of `devices * each` repeat the first, and are dropped in the end.
      seeds: K where every device holds whole settings, whose runs then share the batches of a seed; else 1.

    >>> from sam_jax import devices
    >>> devices.Layout(devices=2, each=3)
    Layout(devices=2, each=3, seeds=1)
    """

    devices: int
    each: int
    seeds: int = 1


def layout(seeds: list[int], devices: int) -> Layout:
    """The layout of a run for each of these seeds.

    Where the same K seeds come again and again, once for each setting, devices get whole settings if there are
    enough of them; else single runs.

    >>> from sam_jax import devices
    >>> devices.layout([0, 1, 2], devices=2)  # three runs
    Layout(devices=2, each=2, seeds=1)
    >>> devices.layout([0, 1] * 3, devices=2)  # three settings of two seeds
    Layout(devices=2, each=4, seeds=2)
    """
    runs, block = len(seeds), len(set(seeds))
    if seeds != seeds[:block] * (runs // block):
        block = 1
    settings = runs // block
    each = math.ceil(settings / devices) * block if settings >= devices else math.ceil(runs / devices)
    return Layout(math.ceil(runs / each), each, 1 if each % block else block)


def padded(leaf, placed: Layout):
    """A leaf [R, ...] with its first runs again at the end, [devices * each, ...].

    >>> import jax.numpy as jnp
    >>> from sam_jax import devices
    >>> devices.padded(jnp.array([5, 6, 7]), devices.Layout(2, 2)).tolist()
    [5, 6, 7, 5]
    """
    places = np.arange(placed.devices * placed.each)
    return leaf[places % len(leaf)] if len(places) > len(leaf) else leaf


def without_padding(tree, runs: int, placed: Layout):
    """The first R of all leaves; by way of the host, since slicing over devices would have them exchange arrays.

    >>> import jax.numpy as jnp
    >>> from sam_jax import devices
    >>> devices.without_padding(jnp.array([5, 6, 7, 5]), 3, devices.Layout(1, 4)).tolist()
    [5, 6, 7]
    """
    if placed.devices * placed.each == runs:
        return tree
    first, every = jax.local_devices()[0], jax.tree.leaves(tree)
    if placed.devices > 1:
        every = [_on_host(leaf, first) for leaf in every]
    return jax.tree.unflatten(jax.tree.structure(tree), [leaf[:runs] for leaf in every])


def _on_host(leaf, device):
    """The leaf's shards put together without a collective operation; keys as they are, on one device."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = np.concatenate([np.asarray(shard.data) for shard in jax.random.key_data(leaf).addressable_shards])
        return jax.random.wrap_key_data(jax.device_put(data, device), impl=jax.random.key_impl(leaf))
    return np.asarray(leaf)


def everywhere(tree, placed: Layout):
    """A copy of the leaves on every device of the layout.

    >>> import jax, jax.numpy as jnp
    >>> from sam_jax import devices
    >>> copied = devices.everywhere(jnp.ones(3), devices.Layout(jax.local_device_count(), 1))
    >>> len(copied.sharding.device_set) == jax.local_device_count()
    True
    """
    return jax.device_put(tree, NamedSharding(_mesh(placed), PartitionSpec())) if placed.devices > 1 else tree


def over_runs(function, placed: Layout):
    """`function(shared, key, one)` for all runs: `mapped(shared, keys, batched)`, leading axes of devices * each.

    On a device the runs go one after the other on a CPU, where that is as fast, and side by side elsewhere: then
    the settings of one seed share its batches, so that the first layers of all of them are one large product.

    >>> import jax, jax.numpy as jnp
    >>> from sam_jax import devices
    >>> mapped = devices.over_runs(lambda shared, key, one: shared * one, devices.Layout(1, 3))
    >>> mapped(2, jax.random.split(jax.random.key(0), 3), jnp.arange(3)).tolist()
    [0, 2, 4]
    """

    def on_a_device(shared, keys, batched):
        if jax.default_backend() == "cpu":
            return jax.lax.map(lambda one: function(shared, *one), (keys, batched))
        if placed.seeds == 1:
            return jax.vmap(function, in_axes=(None, 0, 0))(shared, keys, batched)
        grid = jax.tree.map(lambda leaf: leaf.reshape(-1, placed.seeds, *leaf.shape[1:]), batched)
        settings = jax.vmap(function, in_axes=(None, None, 0))
        found = jax.vmap(settings, in_axes=(None, 0, 1), out_axes=1)(shared, keys[: placed.seeds], grid)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found)

    if placed.devices == 1:
        return on_a_device
    split, whole = PartitionSpec(AXIS), PartitionSpec()
    return jax.shard_map(
        on_a_device, mesh=_mesh(placed), in_specs=(whole, split, split), out_specs=split, check_vma=False
    )


def _mesh(placed: Layout) -> Mesh:
    return Mesh(np.array(jax.local_devices()[: placed.devices]), (AXIS,))
