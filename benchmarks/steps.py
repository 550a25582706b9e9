"""A training step of each rule against eager PyTorch and torch.compile doing the same arithmetic, and the ceilings.

    python benchmarks/steps.py [--json=FILE]        # needs PyTorch: pip install -e '.[bench]'; 2 minutes, two cores

One random batch of 256, float32. PyTorch's change of every synapse in CHECKED steps is ours, or nothing is timed.
The contenders of a row are timed in turn, TURNS times, STEPS steps at once: medians of times and of their ratios.
Compilation is apart. The share is 2 x multiply-adds / time over the measured matrix product. Weight mirroring is
timed alone: its noise is not PyTorch's, and its mirror step is not counted.
"""

import jax
import numpy as np
import torch
import torch_steps
import workload
from rich.console import Console
from rich.table import Table

from sam_jax.lab import records
from sam_jax.rules import RULES, TABLE1

TURNS, STEPS, CHECKED = 9, 30, 5
CASES = [(rule, size, 1) for size in workload.SIZES for rule in TABLE1] + [("sam", size, 8) for size in workload.SIZES]


def contenders(rule, circuit):
    """sam_jax's compiled steps, and PyTorch's eager and compiled ones, on the same synapses and batches."""
    protocol, numbers = workload.protocol_of(rule, circuit), workload.numbers_of(rule, 0.1)
    given = workload.arguments(protocol, numbers, STEPS)
    ours = workload.compiled(protocol, numbers, STEPS)
    runs = {"sam_jax": lambda: jax.block_until_ready(ours(*given))}
    runs["sam_jax"]()
    if rule == "wm":
        return runs
    x, labels = (torch.tensor(np.asarray(array)) for array in given[3:5])
    start = {name: [torch.tensor(np.array(m)) for m in ms] for name, ms in given[0]._asdict().items()}
    for name, step in torch_steps.contenders(circuit, numbers).items():
        runs[name] = torch_steps.runner(step, start, x, labels.long(), STEPS)
    checked = workload.compiled(protocol, numbers, CHECKED)
    expected = checked(*workload.arguments(protocol, numbers, CHECKED))[0][0]._asdict()
    for name in ("eager", "compile"):
        for pathway, matrices in runs[name](CHECKED).items():
            for before, ours_, theirs in zip(start[pathway], expected[pathway], matrices, strict=True):
                change = np.abs(np.asarray(ours_) - before.numpy()).max()
                apart = np.abs(theirs.detach().cpu().numpy() - np.asarray(ours_)).max()
                assert apart <= 1e-2 * change, f"{rule}, {name}: {pathway} differs by {apart}, of a change of {change}"
    return runs


def row(rule, size, ratio, peak) -> dict:
    """Milliseconds a step, PyTorch's over ours, and our share of the matrix product's ceiling."""
    widths = workload.SIZES[size]
    torch.compiler.reset()  # it stops compiling a function that has met many shapes
    circuit = RULES[rule](widths, tuple(ratio * width for width in widths[1:-1]) if ratio > 1 else ())
    runs = contenders(rule, circuit)
    turns = workload.in_turn(runs, TURNS)
    ms = {name: 1000 * workload.median(turns, name) / STEPS for name in runs}
    counted = 2 * workload.BATCH * workload.multiply_adds(circuit) / 1e9
    return {
        **{"rule": rule, "size": size, "ratio": ratio, "ms": ms, "counted_gflop": counted},
        "over_ours": {name: workload.median(turns, name, "sam_jax") for name in runs if name != "sam_jax"},
        "share_of_ceiling": None if rule == "wm" else counted / ms["sam_jax"] * 1000 / peak,
    }


def measure() -> None:
    torch.set_num_threads(records.environment()["processor"]["cores"])
    peak = workload.ceilings()
    table = Table(title=f"A step, batch 256; ceilings {peak['gflops']:.0f} GFLOP/s, {peak['copy_gb_s']:.0f} GB/s")
    for column in ("rule", "size", "d̄/d", "sam_jax ms", "eager ms", "compile ms", "eager ÷", "compile ÷", "of ceiling"):
        table.add_column(column, justify="right")
    rows = []
    for rule, size, ratio in CASES:
        rows.append(found := row(rule, size, ratio, peak["gflops"]))
        times = (f"{found['ms'][name]:.2f}" if name in found["ms"] else "" for name in ("sam_jax", "eager", "compile"))
        ratios = (f"{found['over_ours'][n]:.2f}" if n in found["over_ours"] else "" for n in ("eager", "compile"))
        share = found["share_of_ceiling"]
        table.add_row(rule, size, str(ratio), *times, *ratios, f"{100 * share:.0f} %" if share else "")
    Console(width=120).print(table)
    workload.write({"ceilings": peak, "steps": rows}, torch=torch.__version__)


if __name__ == "__main__":
    workload.main(measure)
