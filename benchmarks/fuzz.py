"""Whatever bytes come, a parser returns, or refuses them in a documented way, in bounded time and memory.

    python benchmarks/fuzz.py [--minutes=10] [--parsers=idx,npz] [--seed=0] [--json=FILE]     # minutes of one core

Valid inputs (tests/parsers.py) are changed at random, outside and inside their packing: bits, lengths, header
numbers, pieces of other formats, bombs. Each parser has a process of its own, whose memory may grow by 1 GB. A crash
is an undocumented exception, 20 seconds of processor time for one input, or the end of the process; its input is
kept beside FILE. Parsers that FILE has already and that are not asked for stay in it.
"""

import argparse
import json
import multiprocessing
import pathlib
import random
import resource
import signal
import sys
import tempfile
import time
import traceback

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))

GROWTH, HANG, KEPT = 2**30, 20, 5  # bytes; seconds; crashes of one kind that are counted but not kept beyond these
WAIT = 20  # times as long may the minutes of a processor take


class Hang(BaseException):
    """An input took too long."""


def stop(*_):
    raise Hang(f"longer than {HANG} s")


def used(name: str) -> int:
    """Bytes, of the kernel's numbers on this process: VmSize, VmRSS."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def fuzz(name: str, minutes: float, seed: int, folder: pathlib.Path) -> None:
    """In a process of its own: changes, parses and counts until the time is over; the counts are left as JSON."""
    import parsers

    parser, draw = parsers.PARSERS[name], random.Random(f"{name} {seed}")
    work = folder / "work"
    work.mkdir()
    valid = parser.valid(work)
    others = [data for other in ("idx", "npz", "svhn", "trained") for data in parsers.PARSERS[other].valid(work)]
    valid = parser.valid(work)  # again: the others may have written over a file of its own
    for data in valid:
        if (line := parsers.refusal(parser, data, work)) is not None:
            raise RuntimeError(f"{name}: a valid input is refused: {line}")
    bombs = [parser.bomb()] if parser.bomb else []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    limit = used("VmSize") + GROWTH
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGPROF, stop)
    found = {"inputs": 0, "accepted": 0, "refused": 0, "crashes": 0, "longest_s": 0.0, "seed": seed}
    kinds: dict[str, int] = {}
    end = time.process_time() + 60 * minutes  # of a processor: beside other work an hour may hold ten minutes
    while time.process_time() < end:
        data = bombs.pop() if bombs else parsers.changed(draw, parser, valid, others)
        (folder / "input").write_bytes(data)  # found here, should the process end
        start = time.process_time()
        try:
            signal.setitimer(signal.ITIMER_PROF, HANG)
            refused = parsers.refusal(parser, data, work)
            signal.setitimer(signal.ITIMER_PROF, 0)
            found["accepted" if refused is None else "refused"] += 1
        except (Exception, Hang) as error:
            signal.setitimer(signal.ITIMER_PROF, 0)
            found["crashes"] += 1
            frame = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} in {pathlib.Path(frame.filename).name}, {frame.name}"
            kinds[kind] = kinds.get(kind, 0) + 1
            if kinds[kind] <= KEPT:
                (folder / f"crash{found['crashes']}").write_bytes(data)
        found["longest_s"] = max(found["longest_s"], round(time.process_time() - start, 3))
        found["inputs"] += 1
    found["minutes"] = minutes
    found["grown_mb"] = round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 2**20, 1)
    found["crash_kinds"] = kinds
    (folder / "found.json").write_text(json.dumps(found))


def measure(name: str, minutes: float, seed: int, beside: pathlib.Path | None) -> dict:
    """One parser's counts; inputs of crashes are kept in the folder."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        arguments = (name, minutes, seed, folder)
        process = multiprocessing.get_context("spawn").Process(target=fuzz, args=arguments, daemon=True)
        process.start()
        process.join(60 * minutes * WAIT + 180)
        if process.is_alive():  # in code that no signal reaches
            process.kill()
            process.join()
        inputs = {path.name: path.read_bytes() for path in folder.glob("crash*")}
        if (folder / "found.json").is_file():
            found = json.loads((folder / "found.json").read_text())
        else:
            found = {"crashes": 1, "crash_kinds": {f"the process ended with {process.exitcode}": 1}, "minutes": minutes}
            if (folder / "input").is_file():
                inputs["crash_last"] = (folder / "input").read_bytes()
    if beside is not None:
        for what, data in inputs.items():
            (beside / f"fuzz_{name}_{what}").write_bytes(data)
    return found


def main() -> None:
    import parsers

    from sam_jax.lab import records

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="of processor time, for each parser")
    parser.add_argument("--parsers", default=",".join(parsers.PARSERS), help="some of %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path)
    given = parser.parse_args()
    names = given.parsers.split(",")
    if unknown := set(names) - set(parsers.PARSERS):
        parser.error(f"--parsers has {min(unknown)}, expected some of {', '.join(parsers.PARSERS)}")
    held: dict = {"parsers": {}}
    if given.json and given.json.is_file():
        held = json.loads(given.json.read_text())
    table = Table("parser", "minutes", "inputs", "accepted", "refused", "crashes", "longest s", "grown MB")
    crashes = 0
    for name in names:
        found = measure(name, given.minutes, given.seed, given.json.parent if given.json else None)
        held["parsers"][name] = found
        crashes += found["crashes"]
        columns = ("minutes", "inputs", "accepted", "refused", "crashes", "longest_s", "grown_mb")
        table.add_row(name, *(str(found.get(column, "–")) for column in columns))
        for kind, count in found["crash_kinds"].items():
            print(f"{name}: {count} times {kind}", file=sys.stderr, flush=True)
        if given.json:
            given.json.write_text(json.dumps(held | {"environment": records.environment()}, indent=1) + "\n")
    Console().print(table)
    sys.exit(crashes > 0)


if __name__ == "__main__":
    main()
