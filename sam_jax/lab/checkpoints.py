"""Unfinished runs, kept by orbax in `checkpoints/` of a run's folder, so that the same command goes on where it was.

A checkpoint holds the carried state of a job's seeds after an evaluation. Their rows up to that epoch are in the
folder before it is: a checkpoint that is further than the rows is not read. Processes that share a folder keep none.
"""

import pathlib
import shutil
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from sam_jax import inputs, training
from sam_jax.lab import records
from sam_jax.lab.arms import Job

FOLDER = "checkpoints"


class Unfinished(NamedTuple):
    """A checkpoint: the runs it is of, all after the same epoch."""

    path: pathlib.Path
    dataset: str
    arm: str
    seeds: tuple[int, ...]
    epoch: int


def save(folder: pathlib.Path, job: Job, seeds: Sequence[int], epoch: int, runs: training.Run) -> None:
    """Writes the runs' state whole, or not at all; the last one of these seeds is then removed.

    Raises:
      OSError: it cannot be written, as on a full disk.
    """
    import orbax.checkpoint as ocp  # a second's import, which most runs are too short for

    about = {"dataset": job.dataset.name, "arm": job.name, "seeds": list(seeds)}
    state = jax.device_get(runs._replace(key=()))  # the key is the seed's
    parts = ocp.args.Composite(about=ocp.args.JsonSave(about), runs=ocp.args.StandardSave(state))
    try:
        with _manager(_path(folder, job, seeds)) as manager:
            manager.save(epoch, args=parts)
    except ValueError as error:  # as tensorstore tells what the operating system refuses
        raise OSError(f"no checkpoint could be written ({str(error).rsplit(': ', 1)[-1]})") from error


def remove(folder: pathlib.Path, job: Job, seeds: Sequence[int]) -> None:
    """Removes the checkpoint of these seeds, and the folder of checkpoints when it is empty."""
    _remove(_path(folder, job, seeds))


def found(folder: pathlib.Path) -> list[Unfinished]:
    """The checkpoints in a run's folder whose rows are there, the furthest first."""
    if not (folder / FOLDER).is_dir():
        return []
    import orbax.checkpoint as ocp

    measured = {(*records.run_of(row), row["epoch"]) for row in records.read(folder)[1]}
    every = []
    for path in sorted((folder / FOLDER).glob("*")):
        with _manager(path) as manager:
            epoch = manager.latest_step()
            if epoch is None:  # the first one was not finished
                continue
            about = manager.restore(epoch, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]
        one = Unfinished(path, about["dataset"], about["arm"], tuple(about["seeds"]), epoch)
        if all((one.dataset, one.arm, seed, epoch) in measured for seed in one.seeds):
            every.append(one)
    return sorted(every, key=lambda one: -one.epoch)


def restore(one: Unfinished, seeds: Sequence[int], job: Job, data: inputs.Data) -> training.Run:
    """The state of these seeds, which are some of the checkpoint's; every leaf has a leading axis of them."""
    import orbax.checkpoint as ocp

    shapes = jax.eval_shape(
        lambda key, data: training.start(job.protocol, job.numbers, data, key)[0], jax.random.key(0), data
    )
    template = jax.tree.map(lambda leaf: np.empty((len(one.seeds), *leaf.shape), leaf.dtype), shapes._replace(key=()))
    with _manager(one.path) as manager:
        runs = manager.restore(one.epoch, args=ocp.args.Composite(runs=ocp.args.StandardRestore(template)))["runs"]
    places = np.array([one.seeds.index(seed) for seed in seeds])
    return jax.tree.map(lambda leaf: np.asarray(leaf)[places], runs)


def groups(job: Job, seeds: Sequence[int], kept: Sequence[Unfinished]) -> list[tuple[list[int], Unfinished | None]]:
    """The seeds, those that go on together together, each group with its checkpoint."""
    left = list(seeds)
    every: list[tuple[list[int], Unfinished | None]] = []
    for one in kept:
        some = [seed for seed in one.seeds if seed in left]
        if (one.dataset, one.arm) == (job.dataset.name, job.name) and some:
            every.append((some, one))
            left = [seed for seed in left if seed not in some]
    if left:
        every.append((left, None))
    return every


def tidy(folder: pathlib.Path, done: set[tuple[str, str, int]], kept: Sequence[Unfinished]) -> None:
    """Removes what an interruption left behind: checkpoints of finished runs, and those that cannot be read."""
    used = {one.path for one in kept if any((one.dataset, one.arm, seed) not in done for seed in one.seeds)}
    for path in (folder / FOLDER).glob("*"):
        if path not in used:
            _remove(path)


def _manager(path):
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    return ocp.CheckpointManager(path.absolute(), options=options)


def _path(folder, job, seeds):
    return folder / FOLDER / f"{job.stem}_{zlib.crc32(repr(list(seeds)).encode()):08x}"


def _remove(path):
    shutil.rmtree(path, ignore_errors=True)
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()
