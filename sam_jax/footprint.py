"""What runs need of memory, counted before anything is compiled, and how many of them fit a device at once."""

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import jax

from sam_jax.circuit import PATHWAYS, Circuit
from sam_jax.rule import Rule

COPIES = 3  # of the synapses: before an epoch (to which a diverged run returns), in training, and their update
MOMENTUM = 2  # copies more where there is momentum, before an epoch and in training
SHARE = 0.9  # of what is free that runs may take


class Need(NamedTuple):
    """Bytes: a run's synapses by pathway and its rule's own memory; all it needs in training; what runs share."""

    parts: dict[str, int]
    copies: int
    run: int
    shared: int


def need(rule: Rule, circuit: Circuit, numbers: Mapping, batch_size: int, images: int = 0) -> Need:
    """The bytes of training a rule's circuit in JAX's default float, on uint8 images of so many bytes in all."""
    start = jax.eval_shape(lambda: rule.init(circuit, jax.random.key(0), dict(numbers)))
    parts = {pathway: _bytes(getattr(start.synapses, pathway)) for pathway in PATHWAYS}
    parts = {name: size for name, size in (parts | {"memory": _bytes(start.memory)}).items() if size}
    copies = COPIES + ("momentum" in numbers) * MOMENTUM
    size = jax.dtypes.canonicalize_dtype(float).itemsize
    # x and its pixels; h, φ(h), φ'(h) and what is received upstream; h̄, V aᵀ and what is sent downstream.
    neurons = 2 * circuit.widths[0] + 4 * sum(circuit.widths[1:]) + 3 * sum(circuit.downstream_widths)
    # Eq. (9)'s batch average, where V is multiplied by it: [d_l, d̄_{l+1}].
    shapes = zip(circuit.shapes.v, circuit.shapes.w_bar, strict=False)
    averages = max((v[1] * w_bar[1] for v, w_bar in shapes), default=0)
    return Need(parts, copies, copies * sum(parts.values()) + size * (batch_size * neurons + averages), images)


def _bytes(tree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def free(device: jax.Device | None = None) -> int | None:
    """Bytes that a device (the first local one by default) can still give; None where it cannot be told."""
    device = device or jax.local_devices()[0]
    if stats := device.memory_stats():
        return stats["bytes_limit"] - stats["bytes_in_use"]
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def at_once(needed: Need, runs: int, available: int | None) -> int:
    """How many of so many runs fit a device together.

    Raises:
      ValueError: not even one does.
    """
    if available is None:
        return runs
    fit = int((SHARE * available - needed.shared) / needed.run)
    if fit < 1:
        raise ValueError(f"a run needs {describe(needed)}, but {readable(available)} are free: use narrower streams")
    return min(runs, fit)


def describe(needed: Need) -> str:
    """`1.2 GB (w 2.8 MB, v ..., 3 copies in training), and 180 MB for the images`."""
    parts = ", ".join(f"{name} {readable(size)}" for name, size in needed.parts.items())
    images = f", and {readable(needed.shared)} for the images" if needed.shared else ""
    return f"{readable(needed.run)} (synapses: {parts}; {needed.copies} copies in training){images}"


def readable(size: int) -> str:
    """Bytes in powers of 1000, three digits."""
    power = next((power for power in range(3) if size < 999.5 * 1000**power), 3)
    return f"{size / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB')[power]}"
