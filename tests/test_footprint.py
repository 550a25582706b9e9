"""Memory is counted as it is stored, never below XLA's plan; what cannot fit is refused; chunks change nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sam_jax as sj
from sam_jax import devices, footprint, inputs, losses, training

WIDE = sj.sam((784, 300, 200, 10), (900, 500))


def need(rule, circuit, images=0, **more):
    """Of batches of 256."""
    return footprint.need(rule, circuit, rule.settle(more), 256, images)


def test_each_pathway_has_the_bytes_of_its_matrices():
    state = sj.init(WIDE, jax.random.key(0))
    held = {p: sum(m.nbytes for m in matrices) for p, matrices in state.synapses._asdict().items()}
    assert need(sj.sam, WIDE).parts == held
    assert need(sj.sgd, sj.sgd((784, 30, 10))).parts == {"w": 4 * 30 * (784 + 10)}
    direct = 4 * 10 * (300 + 200)  # B_l [d_l, K]: a rule's own shapes count, not the circuit's
    assert need(sj.dfa, sj.dfa(WIDE.widths)).parts["w_bar"] == direct


@pytest.mark.parametrize(
    ("rule", "circuit", "more"),
    [
        (sj.sam, WIDE, {}),
        (sj.sgd, sj.sgd(WIDE.widths), {}),
        (sj.kp, sj.kp(WIDE.widths), {}),
        (sj.sam, sj.sam((784, 50, 10)), {}),
        (sj.sam, WIDE, {"momentum": 0.9, "clip_norm": 1.0}),
    ],
    ids=["wide", "sgd", "kp", "small", "momentum"],
)
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 0, 1, 0, 1)], ids=["alone", "side by side"])
def test_runs_need_no_more_than_is_counted_and_not_much_less(rule, circuit, more, seeds, monkeypatch):
    """XLA's own plan of a compiled epoch, the images apart: between a third of the count and the count.

    Side by side, as on an accelerator, all runs have their steps' arrays at once.
    """
    monkeypatch.setattr(jax, "default_backend", lambda: "an accelerator")
    split = inputs.Split(np.zeros((512, 784), np.uint8), np.zeros(512, int))
    data = inputs.Data({"train": split}, jnp.zeros((1, 784)), jnp.ones(()))
    protocol = training.Protocol(rule.functions, circuit, losses.cross_entropy, 256, 1)
    numbers = {name: jnp.full(len(seeds), number, float) for name, number in rule.settle(more).items()}
    placed, keys = devices.layout(list(seeds), 1), jax.random.split(jax.random.key(0), len(seeds))
    runs, _ = jax.eval_shape(lambda s, d, k: training.start_runs(protocol, placed, s, d, k), numbers, data, keys)
    lowered = training.advance_runs.lower(protocol, placed, numbers, data, runs, jnp.array([1]))
    plan = lowered.compile().memory_analysis()
    used = plan.temp_size_in_bytes + plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    evaluation = 4 * 512 * (784 + 2 * sum(circuit.widths[1:]))  # all images at once here; in a run, a thousand
    counted = need(rule, circuit, split.images.nbytes, **more)
    assert counted.run / 3 <= (used - counted.shared) / len(seeds) <= counted.run + evaluation


def test_what_fits_is_run_together_and_what_cannot_fit_is_refused_in_one_line():
    needed = footprint.Need({"w": 2_000_000, "v": 500}, 3, 8_000_000, 1_000_000)
    assert footprint.at_once(needed, 7, None) == 7
    assert footprint.at_once(needed, 7, 1_000_000_000) == 7
    assert footprint.at_once(needed, 7, 40_000_000) == 4  # 0.9 x 40 - 1 = 35 = 4 x 8 + 3
    with pytest.raises(ValueError, match="a run needs 8 MB") as raised:
        footprint.at_once(needed, 7, 9_000_000)
    assert str(raised.value) == (
        "a run needs 8 MB (synapses: w 2 MB, v 500 bytes; 3 copies in training), and 1 MB for the images, "
        "but 9 MB are free: use narrower streams"
    )


def test_sizes_are_readable():
    assert [footprint.readable(size) for size in (0, 999, 1000, 999_600, 4_070_000, 12_345_000_000)] == [
        "0 bytes",
        "999 bytes",
        "1 kB",
        "1 MB",
        "4.07 MB",
        "12.3 GB",
    ]


def test_a_device_can_tell_what_is_free():
    available = footprint.free()
    assert available is None or available > 10**7


def test_the_widest_circuit_of_the_scaling_notes_is_counted_at_once():
    """d̄ = 8 x 4096, three hidden layers: counted without making a matrix."""
    wide = dataclasses.replace(sj.sam((3072, 4096, 4096, 4096, 10)), downstream_widths=(8 * 4096,) * 3)
    found = need(sj.sam, wide)
    assert found.parts["w_bar"] == 4 * (2 * 32768**2 + 32768 * 10)
    assert found.parts["v"] == found.parts["v_bar"] == 4 * 3 * 32768 * 4096
    with pytest.raises(ValueError, match=r"w_bar 8\.59 GB"):
        footprint.at_once(found, 1, 24 * 10**9)
