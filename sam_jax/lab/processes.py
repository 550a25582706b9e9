"""`--distributed`: the runs shared out over several processes, on one machine or on many.

JAX finds the other processes by itself where SLURM, MPI or a cloud has started them (`jax.distributed`). No array
ever crosses from one to another: each trains whole runs on its own devices and appends their rows to a file of its
own in `--out_dir`, which all must be able to read and write; process 0 merges them. If a process dies, the others
are ended by JAX within two minutes, and the same command again does what is missing.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental import multihost_utils

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def start(options) -> None:
    """Joins the other processes, where there are any; before anything else is done with JAX.

    Under --deterministic XLA compiles for a GPU only what sums in one order, and chooses no kernel by timing it.

    Raises:
      ValueError: --out_dir is not given, or JAX finds no processes to join, or not the device that it was told to use.
    """
    if options.deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    if options.distributed:
        _join(options.out_dir)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        config: Any = jax.config
        asked = config.jax_platforms or "any"
        why = f" ({str(error).splitlines()[0]})" if str(error) else ""
        raise ValueError(
            f"JAX finds no device of JAX_PLATFORMS={asked}{why}: JAX_PLATFORMS=cpu runs on the processor"
        ) from None


def _join(out_dir):
    if not out_dir:
        raise ValueError("--distributed needs --out_dir, one folder that all processes can write to")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        cause = str(error).splitlines()[0]
        raise ValueError(
            f"--distributed found no processes to join ({cause}): start this with srun or mpirun"
        ) from None


def first() -> bool:
    """Whether this process is the one that writes the manifest, tables and figures."""
    return jax.process_index() == 0


def part() -> int | None:
    """This process's number in the names of its files; None where it is alone."""
    return jax.process_index() if jax.process_count() > 1 else None


def share(items: list) -> list:
    """This process's share: every n-th."""
    return items[jax.process_index() :: jax.process_count()]


def meet(place: str) -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)


def wait(ready: Callable[[], bool], seconds: float = 1.0) -> None:
    """Waits until what the others write is there: hours, where a collective operation would give up.

    It looks every so many seconds, or less often where looking takes long: at most a tenth of the time goes into it.
    """
    while True:
        start = time.monotonic()
        if ready():
            return
        time.sleep(max(seconds, 9 * (time.monotonic() - start)))
