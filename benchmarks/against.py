"""A step of each rule now, against an earlier commit of this project, in turn.

    python benchmarks/against.py COMMIT [--pairs=40] [--starts=3] [--json=FILE]        # 15 minutes on two cores

The two live in processes of their own, each with its own `workload.py`; one works while the other waits. A pair of
times is taken after the other, so that what slows the machine for a while slows both. Each start of the processes
lays out its memory anew, which alone can make some per cent. A row is the median ratio of all pairs, and the lowest
and highest of the starts' own medians.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from rich.console import Console
from rich.table import Table

from sam_jax.lab import records

HERE = pathlib.Path(__file__).parent
RULES = ("sgd", "fa", "wm", "kp", "sam")
CHILD = """
import sys, time
import jax
jax.config.update("jax_default_matmul_precision", "highest")
import workload
from sam_jax import RULES
for line in sys.stdin:
    rule, size, ratio, steps = line.split()
    widths = workload.SIZES[size]
    down = tuple(int(ratio) * width for width in widths[1:-1]) if int(ratio) > 1 else ()
    start = time.perf_counter()
    run = workload.stepper(RULES[rule](widths, down), rule, int(steps))
    print(time.perf_counter() - start, flush=True)
    while sys.stdin.readline().strip():
        print(workload.seconds(run), flush=True)
"""


class Worker:
    """A process with one version of the project, which times what it is told to."""

    def __init__(self, root: pathlib.Path):
        where = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (root, root / "benchmarks")))}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, "-c", CHILD], env=where, cwd=root, **pipes)

    def ask(self, line: str) -> float:
        print(line, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def one_start(roots: dict, cases: list, pairs: int, steps: int) -> dict:
    """For each case the ratios of the pairs, and of the first calls, which compile."""
    workers = {name: Worker(root) for name, root in roots.items()}
    found = {}
    for case in cases:
        first = {name: worker.ask(f"{case} {steps}") for name, worker in workers.items()}
        times: dict[str, list[float]] = {name: [] for name in workers}
        for pair in range(pairs):
            for name in sorted(workers, reverse=bool(pair % 2)):
                times[name].append(workers[name].ask("again"))
        for worker in workers.values():
            print(file=worker.process.stdin, flush=True)
        found[case] = {
            "ratios": [now / before for now, before in zip(times["now"], times["before"], strict=True)],
            "ms": 1000 * statistics.median(times["now"]) / steps,
            "compile": first["now"] / first["before"],
        }
    for worker in workers.values():
        worker.process.stdin.close()
        worker.process.wait()
    return found


def measure(commit: str, pairs: int, starts: int, steps: int) -> list[dict]:
    cases = [f"{rule} {size} 1" for size in ("MNIST", "CIFAR-10") for rule in RULES]
    cases += [f"sam {size} 8" for size in ("MNIST", "CIFAR-10")]
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=HERE.parent, check=True, capture_output=True).stdout
        subprocess.run(["tar", "--extract", f"--directory={folder}"], input=archive, check=True)
        roots = {"before": pathlib.Path(folder), "now": HERE.parent}
        every = [one_start(roots, cases, pairs, steps) for _ in range(starts)]
    rows = []
    for case in cases:
        rule, size, ratio = case.split()
        medians = [statistics.median(start[case]["ratios"]) for start in every]
        rows.append(
            {
                **{"rule": rule, "size": size, "ratio": int(ratio)},
                "ms": statistics.median(start[case]["ms"] for start in every),
                "now_over_before": statistics.median(ratio for start in every for ratio in start[case]["ratios"]),
                "starts": [min(medians), max(medians)],
                "compile_now_over_before": statistics.median(start[case]["compile"] for start in every),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--pairs", type=int, default=40, help="of times, in each start")
    parser.add_argument("--starts", type=int, default=3, help="of the two processes")
    parser.add_argument("--steps", type=int, default=30, help="timed at once")
    parser.add_argument("--json", type=pathlib.Path)
    given = parser.parse_args()
    rows = measure(given.commit, given.pairs, given.starts, given.steps)
    table = Table(title=f"A step now over one at {given.commit}, {given.starts} × {given.pairs} pairs")
    for column in ("rule", "size", "d̄/d", "ms", "now ÷ before", "of the starts", "compile ÷"):
        table.add_column(column, justify="right")
    for row in rows:
        low, high = row["starts"]
        found = (f"{row['ms']:.2f}", f"{row['now_over_before']:.3f}", f"{low:.3f} to {high:.3f}")
        table.add_row(row["rule"], row["size"], str(row["ratio"]), *found, f"{row['compile_now_over_before']:.2f}")
    Console(width=100).print(table)
    if given.json:
        found = {"commit": given.commit, "pairs": given.pairs, "rows": rows, "environment": records.environment()}
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
