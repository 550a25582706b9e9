"""Processes started at once on one folder: one runs, the others refuse, and the table is that of a lone run.

    python benchmarks/at_once.py [--tries=20] [--json=FILE]        # ten minutes on two cores

Two, three and five times the same command of `experiments/table1.py`, each so many tries. A refusal is one line and an
exit status that is not 0; its seconds count from the start of the process, which imports JAX first.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import faults
from rich.console import Console
from rich.table import Table

from sam_jax.lab import records

COUNTS = (2, 3, 5)
FLAGS = ("--rules=sgd,sam", "--seeds=2", "--epochs=10", "--save_synapses", "--out_dir=out")


def together(cwd: pathlib.Path, count: int) -> list[tuple[int, str, float]]:
    """(exit status, errors, seconds) of so many processes."""
    start = time.perf_counter()
    every = []
    for place in range(count):
        with open(cwd / f"err{place}", "w") as err:
            every.append(subprocess.Popen([sys.executable, faults.SCRIPT, *FLAGS], cwd=cwd, stdout=err, stderr=err))
    seconds: dict[int, float] = {}
    while len(seconds) < count:
        for place, process in enumerate(every):
            if place not in seconds and process.poll() is not None:
                seconds[place] = time.perf_counter() - start
        time.sleep(0.01)
    return [(p.returncode, (cwd / f"err{i}").read_text().strip(), seconds[i]) for i, p in enumerate(every)]


def refuses(ended: tuple[int, str, float]) -> bool:
    status, text, _ = ended
    return status != 0 and len(text.splitlines()) == 1 and "in use by another process" in text


def measure(tries: int) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        whole = pathlib.Path(folder) / "whole"
        whole.mkdir()
        ((status, text, _),) = together(whole, 1)
        assert status == 0, text
        expected = faults.result(whole)
        for count in COUNTS:
            good, waited = 0, []
            for number in range(tries):
                cwd = pathlib.Path(folder) / f"{count}_{number}"
                cwd.mkdir()
                ended = together(cwd, count)
                refused = [one for one in ended if refuses(one)]
                ran = [one for one in ended if one[0] == 0]
                same = len(ran) == 1 and len(refused) == count - 1 and faults.result(cwd) == expected
                good += same
                waited += [seconds for *_, seconds in refused]
                if not same:
                    print(f"{count} processes, try {number}: {ended}", file=sys.stderr, flush=True)
            rows.append({"processes": count, "tries": tries, "as_promised": good, "slowest_refusal_s": max(waited)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--json", type=pathlib.Path)
    given = parser.parse_args()
    rows = measure(given.tries)
    table = Table("processes at once", "tries", "one ran, the others refused, the same table", "slowest refusal, s")
    for row in rows:
        table.add_row(*map(str, list(row.values())[:3]), f"{row['slowest_refusal_s']:.1f}")
    Console().print(table)
    if given.json:
        found = {"at_once": rows, "flags": FLAGS, "environment": records.environment()}
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(any(row["as_promised"] < row["tries"] for row in rows))


if __name__ == "__main__":
    main()
