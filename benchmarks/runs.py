"""Runs at once: 1, 5, 20, 64 and 320 (seeds x rates) in one program; models x steps a second, and memory for each.

    python benchmarks/runs.py [--json=FILE] [--runs=1,5,20]        # 3 minutes on two cores
    XLA_FLAGS=--xla_force_host_platform_device_count=2 python benchmarks/runs.py   # over two virtual devices

SAM at 3072-200-200-200-10, batch 256: a whole epoch on random uint8 images through `training.train`, as the
experiments and the search run it, evaluation apart. The counts are timed in turn, TURNS times; `cost` is the time of a
run among so many over that of a run alone. Memory is what XLA has planned for the compiled program.
"""

import functools

import jax
import jax.numpy as jnp
import workload
from absl import flags
from rich.console import Console
from rich.table import Table

from sam_jax import RULES, devices, inputs, training

RUNS = flags.DEFINE_list("runs", ["1", "5", "20", "64", "320"], "how many runs at once, the first being 1")
TURNS, STEPS, SEEDS = 5, 8, 5


def images(examples: int) -> inputs.Data:
    """Random uint8 images of CIFAR-10's size, on the device."""
    pixels = jax.random.randint(jax.random.key(0), (examples, 3072), 0, 256).astype(jnp.uint8)
    labels = jax.random.randint(jax.random.key(1), (examples,), 0, 10)
    return inputs.Data({"train": inputs.Split(pixels, labels)}, jnp.full((1, 3072), 127.5), jnp.float32(74.0))


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def epoch(protocol, placed, data, runs, numbers):
    """An epoch of all runs, not evaluated."""

    def one_epoch(data, key, one):
        numbers, run = one
        return training.train_epoch(protocol, numbers, data, run._replace(key=key), jnp.int32(1))[0]

    return devices.over_runs(one_epoch, placed)(data, runs.key, (numbers, runs._replace(key=())))


def contender(count: int, data):
    """`run()`: an epoch of so many runs; and the bytes of its program."""
    circuit = RULES["sam"](workload.SIZES["CIFAR-10"])
    protocol = workload.protocol_of("sam", circuit)
    seeds = [i % min(SEEDS, count) for i in range(count)]
    placed = devices.layout(seeds, jax.local_device_count())
    every = placed.devices * placed.each
    numbers = {name: jnp.full(every, number) for name, number in workload.numbers_of("sam", 0.1).items()}
    keys = devices.padded(jnp.stack([jax.random.key(seed) for seed in seeds]), placed)
    data = devices.everywhere(data, placed)
    state = {"runs": training.start_runs(protocol, placed, numbers, data, keys)[0]}
    plan = epoch.lower(protocol, placed, data, state["runs"], numbers).compile().memory_analysis()

    def run():
        state["runs"] = jax.block_until_ready(epoch(protocol, placed, data, state["runs"], numbers))

    run()
    return (
        run,
        plan.temp_size_in_bytes + plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes,
    )


def measure() -> None:
    data = images(STEPS * workload.BATCH)
    counts = [int(count) for count in RUNS.value]
    made = {count: contender(count, data) for count in counts}
    turns = workload.in_turn({count: run for count, (run, _) in made.items()}, TURNS)
    synapses = workload.synapse_bytes("sam", RULES["sam"](workload.SIZES["CIFAR-10"]))
    fixed = sum(leaf.nbytes for leaf in jax.tree.leaves(data.splits))
    table = Table(title=f"Runs at once, SAM 3072-200-200-200-10, batch 256; a run's synapses {synapses / 1e6:.2f} MB")
    for column in ("runs", "models × steps / s", "cost of a run", "MB a run"):
        table.add_column(column, justify="right")
    rows = []
    for count in counts:
        rate = count * STEPS / workload.median(turns, count)
        cost = workload.median(turns, count, counts[0]) * counts[0] / count
        rows.append(
            {"runs": count, "models_steps_per_s": rate, "cost": cost, "bytes_each": (made[count][1] - fixed) / count}
        )
        table.add_row(str(count), f"{rate:.0f}", f"{cost:.2f}", f"{rows[-1]['bytes_each'] / 1e6:.1f}")
    Console(width=110).print(table)
    workload.write({"runs": rows, "synapse_bytes": synapses})


if __name__ == "__main__":
    workload.main(measure)
