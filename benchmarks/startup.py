"""What a first result waits for: import, load, compilation, the first epoch, and the same in a second process.

    python benchmarks/startup.py [--json=FILE]        # a minute on two cores

SAM on 60,000 random images of CIFAR-10's size, one seed. Every start is a process of its own; medians of STARTS. With
the compilation cache, JAX reads its programs from a folder that an earlier process has filled.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import workload
from rich.console import Console
from rich.table import Table

STARTS = 3
CHILD = """
import json, sys, time
marks, last = {}, time.perf_counter()
def mark(name):
    global last
    now = time.perf_counter()
    marks[name], last = now - last, now
import sam_jax as sj
from sam_jax import inputs, losses, training
from sam_jax.data import datasets
mark("import")
data = inputs.place(datasets.load(sys.argv[1]))
mark("load")
row = sj.RULES["sam"]
protocol = training.Protocol(row.functions, row((3072, 200, 200, 200, 10)), losses.cross_entropy, 256, 5)
run = training.train(protocol, row.settle({}), data, [0])
next(run)[2]["test"].loss.item()
mark("start: compiled, drawn, evaluated")
next(run)[2]["test"].loss.item()
mark("first epoch, with compilation")
next(run)[2]["test"].loss.item()
mark("second epoch")
print(json.dumps(marks))
"""


def child(path, **environment) -> dict:
    command = [sys.executable, "-c", CHILD, str(path)]
    done = subprocess.run(command, env=os.environ | environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measure() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = workload.random_images(folder)
        cache = {"JAX_COMPILATION_CACHE_DIR": str(pathlib.Path(folder) / "cache")}
        cache["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        child(path, **cache)  # fills it
        starts = {"cold": [child(path) for _ in range(STARTS)], "cached": [child(path, **cache) for _ in range(STARTS)]}
    found = {
        kind: {name: statistics.median(one[name] for one in every) for name in every[0]}
        for kind, every in starts.items()
    }
    table = Table(title="Start-up, SAM on 60,000 images of CIFAR-10's size, s")
    for column in ("", "cold", "with the compilation cache"):
        table.add_column(column, justify="right" if column else "left")
    for name in found["cold"]:
        table.add_row(name, *(f"{found[kind][name]:.2f}" for kind in ("cold", "cached")))
    Console(width=110).print(table)
    workload.write({"startup_s": found})


if __name__ == "__main__":
    workload.main(measure)
