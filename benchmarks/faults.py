"""A run that is killed again and again ends in the bits of one that was not.

    python benchmarks/faults.py [--kills=50] [--long] [--json=FILE]        # ten minutes on two cores; --long: 500 kills

`experiments/table1.py` trains three rules on digits and keeps a checkpoint after every epoch, so that half of its time
goes into checkpoints and rows. It is sent SIGKILL at a random moment and started again by the same command, until it
ends; its synapses, rows and table are then compared with those of a run that nobody disturbed.
"""

import argparse
import csv
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

from rich.console import Console
from rich.table import Table

from sam_jax.lab import records

SCRIPT = pathlib.Path(__file__).parent.parent / "experiments" / "table1.py"
FLAGS = ("--rules=sgd,sam,wm", "--seeds=2", "--epochs=12", "--save_synapses", "--checkpoint_every=0", "--out_dir=out")


def command(cwd: pathlib.Path, cache: pathlib.Path) -> subprocess.Popen:
    """The run, started; compiled programs are kept, so that most of a start's time is training."""
    kept = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    out = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, SCRIPT, *FLAGS], cwd=cwd, env=os.environ | kept, **out)


def ended(process: subprocess.Popen) -> None:
    error = process.communicate()[1].decode()
    if process.returncode:
        raise RuntimeError(f"{' '.join(FLAGS)} ended with {process.returncode}: {error}")


def result(cwd: pathlib.Path) -> dict:
    """All that a run leaves, but for its times."""
    folder = cwd / "out"
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in records.read(folder)[1]]
    with open(folder / "table.csv", newline="") as file:
        table = [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in csv.DictReader(file)]
    rows.sort(key=lambda row: (*records.run_of(row), row["epoch"]))
    return {"rows": rows, "table": table} | {path.name: path.read_bytes() for path in folder.glob("*.msgpack")}


def disturbed(cwd: pathlib.Path, cache: pathlib.Path, longest: float, moments: random.Random, kills: int) -> int:
    """Runs to the end, killed at random moments on the way, at most so often: how often."""
    done = 0
    while True:
        process = command(cwd, cache)
        try:
            process.wait(timeout=moments.uniform(0, longest) if done < kills else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            done += 1
            continue
        ended(process)
        return done


def measure(kills: int) -> dict:
    moments = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        cache, whole = folder / "cache", folder / "whole"
        for _ in range(2):  # the first fills the cache
            shutil.rmtree(whole, ignore_errors=True)
            whole.mkdir()
            start = time.perf_counter()
            ended(command(whole, cache))
            longest = time.perf_counter() - start
        expected, runs = result(whole), []
        while sum(run["kills"] for run in runs) < kills:
            cwd = folder / f"run{len(runs)}"
            cwd.mkdir()
            left = kills - sum(run["kills"] for run in runs)
            count = disturbed(cwd, cache, longest, moments, min(left, 5))
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
