"""A run's folder: `manifest.json`, what was run and on what; `metrics.jsonl`, a row for each result; synapses.

Rows are appended as they come, so that an interrupted run keeps all it has measured. Tables and
figures are made from these two files alone. Where several processes write, each has a part of its own,
`metrics.I.jsonl`, until one of them merges the parts.
"""

import contextlib
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import filelock
import jax

import sam_jax

PACKAGES = ("sam_jax", "jax", "jaxlib", "flax", "optax", "chex", "numpy", "scikit-learn", "tensorflow-datasets")
MANIFEST, METRICS, PARTS, LOCK = "manifest.json", "metrics.jsonl", "metrics.*.jsonl", ".lock"
TUNING = "tuning.jsonl"  # what `--tune` has tried, until the manifest has what it chose
COLUMNS = {"dataset": str, "arm": str, "seed": int, "epoch": int, "stage": str, "trial": int, "diverged": bool}
NEEDED = {"experiment": ("dataset", "arm", "seed", "epoch"), "search": ("dataset", "arm", "stage", "trial", "seed")}
RESTORE = "move the folder away, or put back the file as it was"
IDENTITY = ("dataset", "arm", "seed", "epoch", "stage", "trial")  # of a row: those that it has


@contextlib.contextmanager
def only_writer(folder: str | os.PathLike):
    """Holds a run's folder against other processes; makes it, and takes it away again if nothing comes into it.

    The operating system lets go of the lock of a process that dies.

    Raises:
      FileExistsError: another process holds it, or it is no folder.
    """
    folder = pathlib.Path(folder)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"out_dir {folder} is not a folder: give another")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder / LOCK, timeout=0):
            try:
                yield
            finally:  # while it is held: who waits for this very file finds it gone, and asks again
                with contextlib.suppress(OSError):
                    (folder / LOCK).unlink()
    except filelock.Timeout:
        raise FileExistsError(
            f"out_dir {folder} is in use by another process: wait for it to end, or give another folder"
        ) from None
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # it is not empty
                path.rmdir()


def check(folder: str | os.PathLike, kind: str = "", cells: dict | None = None, experiment: str = "", **fixed) -> None:
    """Raises FileExistsError if the folder holds anything but a run that these cells may continue.

    Args:
      folder: a run's folder; it need not exist.
      kind: "experiment" or "search".
      experiment: the script's name: another one's runs have other probes, and mean something else.
      cells: `cells[dataset][arm]` describes what is to be run. A run may be continued with more cells or
        more seeds, but a cell that it has already must be the same.
      fixed: further entries of the manifest that must be the same where it has them, key by key:
        `numerics`, a search's `stages`.
    """
    folder = pathlib.Path(folder)
    if not folder.exists() or (folder.is_dir() and {path.name for path in folder.iterdir()} <= {LOCK, TUNING}):
        return
    if cells is None or not (folder / MANIFEST).is_file():
        raise FileExistsError(f"out_dir {folder} is not an empty folder: give another, or move it away")
    held = read(folder)[0]
    if held["kind"] != kind:
        raise FileExistsError(f"out_dir {folder} holds a run of another kind ({held['kind']}): give another folder")
    if held.get("experiment", experiment) != experiment:
        raise FileExistsError(f"out_dir {folder} holds runs of {held['experiment']}.py: give another folder")
    pairs = [
        (f"a run of {dataset}, {arm}", held["cells"][dataset][arm], cell)
        for dataset, arms in cells.items()
        for arm, cell in arms.items()
        if arm in held["cells"].get(dataset, {})
    ]
    for name, parts in fixed.items():
        there = held.get(name, {})
        what = "a search" if kind == "search" else f"an {kind}"
        pairs.append((what, there, there | {key: part for key, part in parts.items() if key in there}))
    for what, there, asked in pairs:
        for name, old, new in _differences(there, json.loads(json.dumps(asked))):
            raise FileExistsError(
                f"out_dir {folder} holds {what} whose {name} is {old}, now {new}: "
                "give another folder, or the same flags"
            )


def _differences(old, new, name=""):
    """(name, old value, new value) of what is not alike in two cells."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}".strip("."))
    elif old != new:
        yield name, old, new


def open_run(
    folder: str | os.PathLike,
    kind: str,
    cells: dict,
    data: dict,
    fixed: dict,
    kept: Mapping[tuple[str, str, int], int] | None = None,
    tuned: dict | None = None,
    experiment: str = "",
    **facts,
) -> None:
    """Makes the folder and its manifest, with the environment's facts added; or continues the run that it holds.

    What an interruption left of an unfinished seed after its checkpoint is dropped, since the seed goes on from
    there; where it has none, it starts again.

    Args:
      folder, kind, cells, experiment, fixed: as `check`.
      data: what is to be said of each data set.
      kept: the epoch of each unfinished run's checkpoint, by `run_of`.
      tuned: what `--tune` chose, the folder's own choices among it.
      facts: further entries of a new manifest.

    Raises:
      FileExistsError: as `check`.
    """
    check(folder, kind, cells, experiment, **fixed)
    folder = pathlib.Path(folder)
    here = {"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **environment()}
    if not (folder / MANIFEST).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / METRICS).touch()
        chosen = ({"experiment": experiment} if experiment else {}) | ({"tuned": tuned} if tuned else {})
        write_manifest(folder, {"kind": kind, "cells": cells, "data": data, **fixed, **chosen, **facts, **here})
        return
    manifest, rows = read(folder)
    for name, value in (("cells", cells), ("data", data), ("tuned", tuned or {}), *fixed.items()):
        if value:
            _add(manifest.setdefault(name, {}), value)
    write_manifest(folder, {**manifest, "continued": [*manifest.get("continued", []), here]})
    if kind == "search":
        _replace_rows(folder, rows)  # without a line that was cut short
        return
    done = finished(manifest, rows)
    epochs = kept or {}
    _replace_rows(folder, [row for row in rows if run_of(row) in done or row["epoch"] <= epochs.get(run_of(row), -1)])


def _add(held: dict, new: dict) -> None:
    """Adds what is not there yet, at every depth."""
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(held.get(key), dict):
            _add(held[key], value)
        else:
            held.setdefault(key, value)


def merge(folder: str | os.PathLike, order: Callable[[dict], Any]) -> None:
    """Brings the parts of all processes into `metrics.jsonl`, sorted by `order`; nothing where there are none."""
    if any(pathlib.Path(folder).glob(PARTS)):
        _replace_rows(pathlib.Path(folder), sorted(read(folder)[1], key=order))


def _replace_rows(folder, rows):
    """Replaces all rows whole, or not at all; a part that an interruption leaves behind holds nothing new."""
    replace_whole(folder / METRICS, "".join(map(_line, rows)))
    for part in folder.glob(PARTS):
        part.unlink()


def run_of(row: dict) -> tuple[str, str, int]:
    """(dataset, arm, seed): which run a row is of."""
    return row["dataset"], row["arm"], row["seed"]


def finished(manifest: dict, rows: Iterable[dict]) -> set[tuple[str, str, int]]:
    """The runs whose last epoch is among the rows."""
    last = {
        (dataset, arm): cell["protocol"]["epochs"]
        for dataset, arms in manifest["cells"].items()
        for arm, cell in arms.items()
    }
    return {run_of(row) for row in rows if row.get("epoch", -1) == last.get(run_of(row)[:2])}


def write_manifest(folder: str | os.PathLike, manifest: dict) -> None:
    """Replaces the manifest whole, or not at all."""
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    replace_whole(pathlib.Path(folder) / MANIFEST, text + "\n")


def replace_whole(path: pathlib.Path, content: str) -> None:
    """Writes a file whole, or leaves it as it was."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(content, encoding="utf-8")
    partial.replace(path)


def append(folder: str | os.PathLike, rows: Iterable[dict], part: int | None = None) -> None:
    """Appends rows to `metrics.jsonl`, or to a process's own part of it; a number that is not finite becomes null."""
    write_lines(pathlib.Path(folder) / (METRICS if part is None else PARTS.replace("*", str(part))), rows)


def write_lines(path: pathlib.Path, rows: Iterable[dict]) -> None:
    """Appends rows to a file, each as a line of JSON."""
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(map(_line, rows))


def _line(row):
    return json.dumps(_with_nulls(row), allow_nan=False) + "\n"


def whole_lines(path: pathlib.Path) -> list[str]:
    """A file's lines, but for a last one that an interruption cut short."""
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]


def read(folder: str | os.PathLike) -> tuple[dict, list[dict]]:
    """The manifest and the rows of a run's folder, those of all parts: one for each run and epoch, the first.

    A last line that an interruption cut short is left out.

    Raises:
      FileNotFoundError: the folder has no manifest or no rows.
      ValueError: a file holds anything but what a run writes.
    """
    folder = pathlib.Path(folder)
    for name in (MANIFEST, METRICS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}: expected the folder of a run")
    manifest = _manifest(folder / MANIFEST)
    lines: dict[bytes, str] = {}  # each once, and where it stands
    for file, content in _contents(folder):
        *whole, _ = content.split(b"\n")
        for number, line in enumerate(whole, start=1):
            lines.setdefault(line, f"{file}, line {number}")
    rows: dict[Any, dict] = {}
    for line, where in lines.items():
        row = _row(where, line, NEEDED.get(manifest["kind"], ()))
        held = rows.setdefault(tuple(row.get(name) for name in IDENTITY) if "arm" in row else line, row)
        if held | {"seconds": 0} != row | {"seconds": 0}:
            what = ", ".join(f"{name} {row[name]}" for name in IDENTITY if name in row)
            warnings.warn(f"{folder} has two rows of {what}: the second is left out", stacklevel=2)
    return manifest, list(rows.values())


def _parsed(where: object, text: bytes) -> dict:
    """A JSON object."""
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        what = " ".join(f"{error}".split())
        raise ValueError(f"{where}: expected JSON, found a damaged file ({what}): {RESTORE}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a JSON object, found {type(value).__name__}: {RESTORE}")
    return value


def _manifest(path: pathlib.Path) -> dict:
    """A manifest, with its kind, its cells and data, and an epoch count in every cell."""
    manifest = _parsed(path, path.read_bytes())
    if not isinstance(manifest.get("kind"), str):
        raise ValueError(f"{path} names no kind of run: it is an older sam_jax's, or damaged: {RESTORE}")
    for name in ("cells", "data"):
        for dataset in _objects(f"{path}: {name}", manifest.get(name)).values():
            _objects(f"{path}: {name}", dataset)
    for dataset in manifest["cells"].values():
        for arm, cell in dataset.items():
            protocol = _objects(f"{path}: {arm}", cell).get("protocol")
            epochs = _objects(f"{path}: {arm}.protocol", protocol).get("epochs")
            _check_type(f"{path}: {arm}.protocol.epochs", epochs, int)
    return manifest


def _objects(where: str, value: Any) -> dict:
    _check_type(where, value, dict)
    return value


def _check_type(where: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        found = "nothing" if value is None else type(value).__name__
        raise ValueError(f"{where}: expected {kind.__name__}, found {found}: {RESTORE}")


def _row(where: str, line: bytes, needed: Iterable[str]) -> dict:
    """A row whose names of a run are what they should be, the needed ones there."""
    row = _parsed(where, line)
    for name, kind in COLUMNS.items():
        if name in row or name in needed:
            _check_type(f"{where}: {name}", row.get(name), kind)
    return row


def _contents(folder):
    while True:
        try:
            return [(path, path.read_bytes()) for path in (folder / METRICS, *sorted(folder.glob(PARTS)))]
        except FileNotFoundError:  # process 0 has brought a part into METRICS meanwhile
            if not (folder / METRICS).is_file():
                raise


def numerics(options) -> dict:
    """What changes every number of a run, whatever the arm: a folder is not continued under another."""
    config: Any = jax.config  # whose attributes no type checker sees
    return {
        "precision": options.precision,
        "deterministic": options.deterministic,
        "x64": bool(config.jax_enable_x64),
        "prng": str(config.jax_default_prng_impl),
    }


def environment() -> dict:
    """Versions, device, processor and git revision of this process."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    devices = jax.devices()
    return {
        "command": " ".join(sys.argv),
        "versions": versions,
        "device": {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)},
        "processor": {"name": _processor(), "cores": _cores()},
        "git_revision": _git_revision(),
    }


def _with_nulls(value):
    if isinstance(value, dict):
        return {key: _with_nulls(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nulls(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _git_revision():
    """The commit of this source tree, with `+changes` where tracked files differ from it; None outside git."""

    def git(*arguments):
        here = pathlib.Path(sam_jax.__file__).parent
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if not git("ls-files", "__init__.py"):  # installed inside somebody else's repository
            return None
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
