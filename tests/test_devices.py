"""Runs side by side and over devices are the single runs: bit for bit on a CPU, else up to rounding."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from stepping import some

import sam_jax as sj
from sam_jax import devices, inputs, losses, training
from sam_jax.data import datasets
from sam_jax.lab import records


def protocol(rule, epochs=2):
    rule = sj.RULES[rule]
    return training.Protocol(rule.functions, rule((64, 9, 8, 10)), losses.cross_entropy, 300, epochs)


def trained(rule, seeds):
    """The synapses and metrics of sensible numbers, others for each run, after two epochs."""
    data = inputs.place(datasets.load("digits"))
    numbers = sj.RULES[rule].settle({"decay": np.linspace(1e-4, 1e-2, len(seeds))})
    if rule == "wm":
        numbers["mirror_steps_before"] = 5
    *_, (_, runs, metrics) = training.train(protocol(rule), numbers, data, list(seeds))
    assert len(runs.diverged) == len(seeds) and not runs.diverged.any()
    return runs.synapses, metrics


@pytest.mark.parametrize(
    "case",
    some([("sam", (3, 4, 3, 4, 3, 4)), ("wm", (7, 8)), ("sam", (5, 5, 6))], [("sam", (3, 4, 3, 4, 3, 4))]),
    ids=str,
)
def test_runs_over_two_devices_equal_runs_on_one_bit_for_bit(case, monkeypatch):
    """Three settings of two seeds fill two devices unevenly, a setting of two seeds evenly; the third is no grid."""
    assert jax.local_device_count() == 2
    spread = trained(*case)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    alone = trained(*case)
    for a, b in zip(jax.tree.leaves(spread), jax.tree.leaves(alone), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [(0, 1), (0, 1, 2)], ids=str)
def test_the_devices_exchange_nothing(seeds):
    """No collective operation in either program, nor in what drops the padding."""
    data = inputs.place(datasets.load("digits"))
    placed = devices.layout(list(seeds), 2)
    data = devices.everywhere(data, placed)
    keys = devices.padded(jax.random.split(jax.random.key(0), len(seeds)), placed)
    numbers = {name: jax.numpy.full(len(keys), number, float) for name, number in sj.sam.settle().items()}
    begin = training.start_runs.lower(protocol("sam"), placed, numbers, data, keys).compile()
    runs, _ = training.start_runs(protocol("sam"), placed, numbers, data, keys)
    epochs = jax.numpy.array([1, 2])
    go_on = training.advance_runs.lower(protocol("sam"), placed, numbers, data, runs, epochs).compile()
    for program in (begin, go_on):
        text = program.as_text()
        assert not any(word in text for word in ("all-gather", "all-reduce", "all-to-all", "collective-permute"))
    kept = devices.without_padding(runs, len(seeds), placed)
    assert all(len(leaf) == len(seeds) for leaf in jax.tree.leaves(kept))
    assert (jax.random.key_data(kept.key) == jax.random.key_data(keys[: len(seeds)])).all()


def test_two_devices_hold_half_of_the_runs_each():
    data = inputs.place(datasets.load("digits"))
    for _, runs, _ in training.train(protocol("sgd"), sj.sgd.settle(), data, [0, 1]):
        shards = runs.synapses.w[0].addressable_shards
        assert [shard.data.shape for shard in shards] == [(1, 9, 64)] * 2
        assert len({shard.device for shard in shards}) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    some([*((rule, (3, 4, 3, 4)) for rule in sj.rules.TABLE1), ("wm", (5, 6, 7))], [("fa", (3, 4, 3, 4))]),
    ids=str,
)
def test_runs_side_by_side_equal_runs_one_after_the_other(case, monkeypatch):
    """An accelerator's vmap, over seeds and over the settings that share a seed's batches, up to float32's rounding."""
    after = trained(*case)
    programs = (training.start_runs, training.advance_runs)
    monkeypatch.setattr(jax, "default_backend", lambda: "an accelerator")
    for program in programs:
        program.clear_cache()
    beside = trained(*case)
    for program in programs:
        program.clear_cache()
    for a, b in zip(jax.tree.leaves(beside[0]), jax.tree.leaves(after[0]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_the_settings_of_a_seed_share_its_batches():
    """Side by side, an epoch gathers the pixels of K seeds, not of K seeds x S settings."""
    seeds, settings, gathered = 2, 3, []
    monkey = devices.Layout(1, seeds * settings, seeds)

    def look(shared, key, one):
        batch = shared[jax.random.randint(key, (4,), 0, 10)]
        gathered.append(batch)
        return (batch * one).sum(axis=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "an accelerator")
        keys = jax.random.split(jax.random.key(0), seeds)
        keys = jax.numpy.concatenate([keys] * settings)
        ones = np.arange(1.0, 7.0, dtype=np.float32)
        mapped = devices.over_runs(look, monkey)
        images = jax.random.normal(jax.random.key(1), (10, 5))
        text = str(jax.make_jaxpr(mapped)(images, keys, ones))
        found = mapped(images, keys, ones)
    assert "f32[2,4,5]" in text and "f32[6,4,5]" not in text
    for i in range(6):
        expected = (images[jax.random.randint(keys[i], (4,), 0, 10)] * ones[i]).sum(axis=1)
        np.testing.assert_allclose(found[i], expected, rtol=1e-5)


def test_layouts_hold_every_run_and_leave_no_device_empty():
    for settings in (1, 2, 5, 64):
        for seeds in (1, 2, 5):
            for count in (1, 2, 3, 4, 8, 1000):
                placed = devices.layout(list(range(seeds)) * settings, count)
                assert placed.devices <= count
                room = placed.devices * placed.each
                assert settings * seeds <= room and room - placed.each < settings * seeds
                assert placed.each % placed.seeds == 0 and placed.seeds in (1, seeds)
    assert devices.layout([0, 1, 2, 3, 4] * 64, 8) == devices.Layout(8, 40, 5)
    assert devices.layout([0, 1, 2, 3, 4], 4) == devices.Layout(3, 2, 1)
    assert devices.layout([0, 0, 1], 1) == devices.Layout(1, 3, 1)


OVER_DEVICES = """
import json, sys
import numpy as np, jax
from sam_jax import inputs, losses, sam, training
from sam_jax.data import datasets
data = inputs.place(datasets.load("digits"))
fixed = training.Protocol(sam.functions, sam((64, *map(int, sys.argv[1:]), 10)), losses.cross_entropy, 300, 2)
numbers = sam.settle({"decay": np.linspace(1e-4, 1e-2, 10)})
*_, (_, runs, _) = training.train(fixed, numbers, data, [0, 1] * 5)
total = [np.asarray(leaf).tobytes().hex() for leaf in jax.tree.leaves(runs.synapses)]
print(json.dumps([jax.local_device_count(), total]))
"""


def trained_over(count, widths, flags):
    """Devices, and the synapses of ten runs over so many virtual ones, in a process of their own."""
    given = f"{flags} --xla_force_host_platform_device_count={count}"
    done = subprocess.run(
        [sys.executable, "-c", OVER_DEVICES, *map(str, widths)],
        env=os.environ | {"XLA_FLAGS": given},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_four_virtual_devices_equal_one():
    flags = os.environ["XLA_FLAGS"]
    (four, spread), (one, alone) = (trained_over(count, (9, 8), flags) for count in (4, 1))
    assert (four, one) == (4, 1) and spread == alone


@pytest.mark.slow
def test_a_virtual_device_for_each_core_changes_no_bit():
    """Optimized, and so wide that XLA cuts a product between its threads: as many for all devices as for one."""
    most = min(records.environment()["processor"]["cores"], 10)
    (many, spread), (one, alone) = (trained_over(count, (200, 200, 200), "") for count in (most, 1))
    assert (many, one) == (most, 1) and spread == alone
