"""The limits that the project keeps: a SAM step against an SGD step, a CIFAR-10 run's memory, import time.

    python benchmarks/limits.py [--json=FILE]

Random data throughout: speed does not depend on what the images show. Steps are timed in interleaved
pairs, compilation apart; the ratio is the median over pairs. Beside it stands the ratio of counted
multiply-adds. Memory is the largest resident set of a whole `table1.py` on 60,000 random images of
CIFAR-10's size, all rules and seeds. About two minutes on two cores.
"""

import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

from sam_jax import RULES, init, losses, records, training

JSON = flags.DEFINE_string("json", None, "also write the measurements to this file")
PAIRS, STEPS, BATCH = 11, 40, 256
SIZES = {"MNIST": (784, 200, 200, 200, 10), "CIFAR-10": (3072, 200, 200, 200, 10)}


def multiply_adds(circuit) -> int:
    """Of one step and one example, as `dynamics.py` computes it; eq. (9) through the batch average of a bᵀ."""
    shapes = {p: [post * pre for post, pre in getattr(circuit.shapes, p)] for p in circuit.shapes._fields}
    count = 2 * sum(shapes["w"])  # forward and its update
    count += sum(shapes["w_bar"] or shapes["w"][1:])  # feedback
    for pathway in ("v", "v_bar"):
        count += sum(shapes[pathway])  # one product for both updates; V̄ h̄
    if "w_bar" in circuit.plastic:
        count += sum(shapes["w_bar"])
        if shapes["v"]:  # V (a bᵀ), once for the batch
            count += (
                sum(v * post_pre[1] for v, post_pre in zip(shapes["v"], circuit.shapes.w_bar, strict=True)) // BATCH
            )
    return count


def stepper(rule: str, widths: tuple[int, ...]):
    """A compiled scan of STEPS training steps from the rule's initial state, as a function of nothing."""
    row = RULES[rule]
    protocol = training.Protocol(row(widths), losses.cross_entropy, BATCH, epochs=1)
    settings = training.Settings(row.rates, row.decay, row.scales)
    optimizer = training.make_optimizer(protocol, settings, STEPS)
    x = jax.random.normal(jax.random.key(0), (STEPS, BATCH, widths[0]))
    labels = jax.random.randint(jax.random.key(1), (STEPS, BATCH), 0, widths[-1])
    keys = jax.random.split(jax.random.key(2), STEPS)
    synapses = init(protocol.circuit, jax.random.key(3), row.scales).synapses

    @jax.jit
    def steps(synapses, opt_state, x, labels, keys):
        def step(carry, batch):
            *carry, loss = training.train_step(protocol, settings, optimizer, *carry, *batch)
            return tuple(carry), loss

        return jax.lax.scan(step, (synapses, opt_state), (x, labels, keys))

    arguments = (synapses, optimizer.init(synapses), x, labels, keys)
    return lambda: jax.block_until_ready(steps(*arguments))


def milliseconds(run) -> float:
    start = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - start) / STEPS


def step_ratios() -> list[dict]:
    """Medians of a step of sgd and of sam, and of their ratio, at d̄ = d."""
    found = []
    for name, widths in SIZES.items():
        sgd, sam = stepper("sgd", widths), stepper("sam", widths)
        sgd(), sam()  # compiled here
        pairs = [(milliseconds(sgd), milliseconds(sam)) for _ in range(PAIRS)]
        counted = multiply_adds(RULES["sam"](widths)) / multiply_adds(RULES["sgd"](widths))
        entry = {
            "widths": widths,
            "sgd_ms": statistics.median(a for a, _ in pairs),
            "sam_ms": statistics.median(b for _, b in pairs),
            "ratio": statistics.median(b / a for a, b in pairs),
            "counted_ratio": counted,
        }
        found.append({"size": name} | entry)
    return found


def peak_memory() -> float:
    """GB of the largest process of a whole table1.py on random images of CIFAR-10's size."""
    script = pathlib.Path(__file__).parent.parent / "experiments" / "table1.py"
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        arrays = {}
        for split, n in (("train", 50_000), ("test", 10_000)):
            arrays[f"{split}_images"] = random.integers(256, size=(n, 32, 32, 3), dtype=np.uint8)
            arrays[f"{split}_labels"] = random.integers(10, size=n).astype(np.uint8)
        np.savez(pathlib.Path(folder) / "random.npz", **arrays)
        command = [sys.executable, script, "--dataset=random.npz", "--epochs=1", "--out_dir=out"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e9


def import_seconds() -> float:
    """The median of eleven imports, each in a process of its own, the interpreter's start not counted."""
    code = "import time; t = time.perf_counter(); import sam_jax; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    times = [float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(11)]
    return statistics.median(times)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag: --json=FILE is the only one")
    steps, memory, start_up = step_ratios(), peak_memory(), import_seconds()
    table = Table(title="Limits", title_justify="left")
    for column in ("what", "measured", "limit"):
        table.add_column(column)
    for entry in steps:
        times = f"{entry['sam_ms']:.2f} / {entry['sgd_ms']:.2f} ms"
        shown = f"{entry['ratio']:.2f}  ({times}; counted {entry['counted_ratio']:.2f})"
        table.add_row(f"sam step / sgd step, {entry['size']}", shown, "1.6")
    table.add_row("memory of a CIFAR-10 run", f"{memory:.2f} GB", "2 GB")
    table.add_row("import sam_jax", f"{start_up:.2f} s", "1 s")
    Console().print(table)
    if JSON.value:
        facts = {"steps": steps, "memory_gb": memory, "import_s": start_up, "environment": records.environment()}
        pathlib.Path(JSON.value).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
