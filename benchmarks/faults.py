"""A run that is killed again and again ends in the bits of one that was not.

    python benchmarks/faults.py [--kills=50] [--long] [--json=FILE]     # minutes on two cores; --long: 500 kills

`experiments/table1.py` trains two rules on digits and keeps a checkpoint after every epoch, so that half of its time
goes into checkpoints and rows. It is sent SIGKILL at a random moment and started again by the same command, until it
ends; its synapses, rows and table are then compared with those of a run that nobody disturbed. Each start is a fork of
a process that has imported JAX and the experiment, and nothing else, so that most kills fall into the run itself.
"""

import argparse
import csv
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time

from rich.console import Console
from rich.table import Table

from sam_jax import lab
from sam_jax.experiments import table1
from sam_jax.lab import records

SCRIPT = pathlib.Path(__file__).parent.parent / "experiments" / "table1.py"
FLAGS = ("--rules=sgd,sam", "--seeds=2", "--epochs=10", "--save_synapses", "--checkpoint_every=0", "--out_dir=out")
FORKS = multiprocessing.get_context("forkserver")


def run(cwd: pathlib.Path) -> None:
    """The command, in a process of its own."""
    os.chdir(cwd)
    with open("output", "w") as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    lab.main(table1.EXPERIMENT, [str(SCRIPT), *FLAGS])


def command(cwd: pathlib.Path) -> multiprocessing.process.BaseProcess:
    """The run, started."""
    process = FORKS.Process(target=run, args=(cwd,))
    process.start()
    return process


def ended(process: multiprocessing.process.BaseProcess, cwd: pathlib.Path) -> None:
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{' '.join(FLAGS)} ended with {process.exitcode}: {(cwd / 'output').read_text()}")


def result(cwd: pathlib.Path) -> dict:
    """All that a run leaves, but for its times."""
    folder = cwd / "out"
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in records.read(folder)[1]]
    with open(folder / "table.csv", newline="") as file:
        table = [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in csv.DictReader(file)]
    rows.sort(key=lambda row: (*records.run_of(row), row["epoch"]))
    return {"rows": rows, "table": table} | {path.name: path.read_bytes() for path in folder.glob("*.msgpack")}


def disturbed(cwd: pathlib.Path, longest: float, moments: random.Random, kills: int) -> int:
    """Runs to the end, killed at random moments on the way, at most so often: how often."""
    done = 0
    while True:
        process = command(cwd)
        process.join(moments.uniform(0, longest) if done < kills else None)
        if process.exitcode is not None:
            ended(process, cwd)
            return done
        process.kill()
        process.join()
        done += 1


def measure(kills: int) -> dict:
    moments = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        whole = folder / "whole"
        # Compiled programs are kept, so that most of a start's time is training. The server of the forks inherits this.
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "cache")
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        FORKS.set_forkserver_preload(["sam_jax.experiments.table1", "sklearn.datasets", "orbax.checkpoint"])
        for _ in range(2):  # the first fills the cache
            shutil.rmtree(whole, ignore_errors=True)
            whole.mkdir()
            start = time.perf_counter()
            ended(command(whole), whole)
            longest = time.perf_counter() - start
        expected, runs = result(whole), []
        while sum(run["kills"] for run in runs) < kills:
            cwd = folder / f"run{len(runs)}"
            cwd.mkdir()
            left = kills - sum(run["kills"] for run in runs)
            count = disturbed(cwd, longest, moments, min(left, 5))
            same = result(cwd) == expected
            clean = not (cwd / "out" / "checkpoints").exists()
            runs.append({"kills": count, "same": same, "clean": clean})
            print(f"killed {count} times: {'the same bits' if same else 'DIFFERENT'}", file=sys.stderr, flush=True)
    return {
        "kills": sum(run["kills"] for run in runs),
        "kills_without_a_trace": sum(run["kills"] for run in runs if run["same"] and run["clean"]),
        "runs": len(runs),
        "seconds_undisturbed": round(longest, 1),
        "flags": FLAGS,
        "environment": records.environment(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--long", action="store_true", help="500 kills")
    parser.add_argument("--json", type=pathlib.Path)
    given = parser.parse_args()
    found = measure(500 if given.long else given.kills)
    table = Table("kills", "without a trace", "runs")
    table.add_row(str(found["kills"]), str(found["kills_without_a_trace"]), str(found["runs"]))
    Console().print(table)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(found["kills_without_a_trace"] < found["kills"])


if __name__ == "__main__":
    main()
