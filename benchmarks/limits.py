"""The limits that the project keeps: a SAM step against an SGD step, a CIFAR-10 run's memory, import time.

    python benchmarks/limits.py [--json=FILE]

Random data throughout: speed does not depend on what the images show. Steps are timed in interleaved
pairs, compilation apart; the ratio is the median over pairs. Beside it stands the ratio of counted
multiply-adds. Memory is the largest resident set of a whole `table1.py` on 60,000 random images of
CIFAR-10's size, all rules and seeds. About two minutes on two cores.
"""

import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile

import workload
from rich.console import Console
from rich.table import Table

from sam_jax import RULES

PAIRS, STEPS = 11, 40


def step_ratios() -> list[dict]:
    """Medians of a step of sgd and of sam, and of their ratio, at d̄ = d."""
    found = []
    for name, widths in workload.SIZES.items():
        circuits = {rule: RULES[rule](widths) for rule in ("sgd", "sam")}
        turns = workload.in_turn({rule: workload.stepper(c, rule, STEPS) for rule, c in circuits.items()}, PAIRS)
        counts = {rule: workload.multiply_adds(circuit) for rule, circuit in circuits.items()}
        entry = {
            "widths": widths,
            "sgd_ms": 1000 * workload.median(turns, "sgd") / STEPS,
            "sam_ms": 1000 * workload.median(turns, "sam") / STEPS,
            "ratio": workload.median(turns, "sam", "sgd"),
            "counted_ratio": counts["sam"] / counts["sgd"],
        }
        found.append({"size": name} | entry)
    return found


def peak_memory() -> float:
    """GB of the largest process of a whole table1.py on random images of CIFAR-10's size."""
    script = pathlib.Path(__file__).parent.parent / "experiments" / "table1.py"
    with tempfile.TemporaryDirectory() as folder:
        workload.random_images(folder)
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


def measure() -> None:
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
    workload.write({"steps": steps, "memory_gb": memory, "import_s": start_up})


if __name__ == "__main__":
    workload.main(measure)
