"""The paper's search on a data set of CIFAR-10's size: 64 settings x 5 seeds x 50 epochs of SAM, all at once.

    python benchmarks/search_at_once.py [--json=FILE]                        # on a GPU: the whole search
    python benchmarks/search_at_once.py --settings=2 --epochs=1 --images=2560   # on a CPU: that it runs

Random uint8 images; speed does not depend on what they show. Compilation is apart. Beside the time stand the floor by
counted bytes (a step reads every stored synapse twice, for its signal and its update, and writes it once) and that by
counted multiply-adds, each over this device's measured ceilings; and, where PyTorch is installed, the time of the same
steps one run after the other in eager PyTorch on the same device, extrapolated from measured steps.
"""

import importlib.util
import time

import jax
import jax.numpy as jnp
import numpy as np
import runs
import workload
from absl import flags
from rich.console import Console
from rich.table import Table

from sam_jax import RULES, devices, training
from sam_jax.rule import RATES

SETTINGS = flags.DEFINE_integer("settings", 64, "combinations of the learning rates", lower_bound=1)
SEEDS = flags.DEFINE_integer("seeds", 5, "of each", lower_bound=1)
EPOCHS = flags.DEFINE_integer("epochs", 50, "passes over the images", lower_bound=1)
IMAGES = flags.DEFINE_integer("images", 45_000, "training images", lower_bound=workload.BATCH)
PRECISIONS = ("highest", "high", "default", "BF16_BF16_F32")
PRECISION = flags.DEFINE_enum("precision", "highest", PRECISIONS, "of float32 matrix products, and of their ceiling")


def eager_step(circuit) -> float | None:
    """Seconds of a step in eager PyTorch, or None without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch
    import torch_steps

    protocol, numbers = workload.protocol_of("sam", circuit), workload.numbers_of("sam", 0.1)
    synapses, _, _, x, labels, _ = workload.arguments(protocol, numbers, 1)
    start = {name: [torch.tensor(np.array(m)) for m in ms] for name, ms in synapses._asdict().items()}
    x, labels = torch.tensor(np.asarray(x)), torch.tensor(np.asarray(labels)).long()
    run = torch_steps.runner(torch_steps.contenders(circuit, numbers)["eager"], start, x, labels, 100)
    run()
    return workload.median(workload.in_turn({"eager": run}, 5), "eager") / 100


def measure() -> None:
    circuit = RULES["sam"](workload.SIZES["CIFAR-10"])
    data = runs.images(IMAGES.value)
    protocol = workload.protocol_of("sam", circuit, epochs=EPOCHS.value, schedule="cosine", warmup_epochs=2.0)
    seeds = list(range(SEEDS.value)) * SETTINGS.value
    placed = devices.layout(seeds, jax.local_device_count())
    factors = jnp.repeat(jnp.geomspace(0.02, 0.2, SETTINGS.value), SEEDS.value)
    numbers = {
        name: number * factors if name in RATES else jnp.full(len(seeds), number)
        for name, number in workload.numbers_of("sam").items()
    }
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    numbers, keys = jax.tree.map(lambda leaf: devices.padded(leaf, placed), (numbers, keys))
    with jax.default_matmul_precision(PRECISION.value):
        peak = workload.ceilings()
        epochs, data = jnp.arange(1, EPOCHS.value + 1), devices.everywhere(data, placed)
        start = time.perf_counter()
        begin = training.start_runs.lower(protocol, placed, numbers, data, keys).compile()
        state, _ = begin(numbers, data, keys)
        program = training.advance_runs.lower(protocol, placed, numbers, data, state, epochs).compile()
        compiled = time.perf_counter() - start
        plan = program.memory_analysis()
        start = time.perf_counter()
        state, _ = jax.block_until_ready(program(numbers, data, state, epochs))
        searched = time.perf_counter() - start
    steps = len(seeds) * EPOCHS.value * (IMAGES.value // workload.BATCH)
    found = {
        **{"settings": SETTINGS.value, "seeds": SEEDS.value, "epochs": EPOCHS.value, "images": IMAGES.value},
        **{"precision": PRECISION.value, "devices": placed.devices, "ceilings": peak},
        **{"compile_s": compiled, "search_s": searched, "microseconds_a_step": 1e6 * searched / steps},
        "floor_bytes_s": steps * 3 * workload.synapse_bytes("sam", circuit) / peak["copy_gb_s"] / 1e9 / placed.devices,
        "floor_flop_s": steps
        * 2
        * workload.BATCH
        * workload.multiply_adds(circuit)
        / peak["gflops"]
        / 1e9
        / placed.devices,
        "bytes": plan.temp_size_in_bytes + plan.argument_size_in_bytes,
        "diverged": int(state.diverged.sum()),
        "eager_s": (step := eager_step(circuit)) and step * steps,
    }
    title = f"{SETTINGS.value} settings × {SEEDS.value} seeds × {EPOCHS.value} epochs of {IMAGES.value} images"
    table = Table(title=title, show_header=False)
    for name, says in (
        ("search_s", "the search, s"),
        ("floor_bytes_s", "floor by bytes, s"),
        ("floor_flop_s", "floor by products, s"),
        ("compile_s", "compilation before it, s"),
        ("eager_s", "eager PyTorch, run after run, extrapolated, s"),
        ("microseconds_a_step", "a step of one run, µs"),
        ("bytes", "bytes planned"),
        ("diverged", "runs that diverged"),
    ):
        value = found[name]
        table.add_row(
            says, "not measured" if value is None else f"{value:,.4g}" if name != "bytes" else f"{value / 1e9:.2f} GB"
        )
    Console(width=100).print(table)
    workload.write(found)


if __name__ == "__main__":
    workload.main(measure)
