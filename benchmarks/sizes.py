"""What a SAM step costs over widths, depths and d̄/d, against the analytic count of multiply-adds.

    python benchmarks/sizes.py [--json=FILE]        # 4 minutes on two cores

784 pixels, ten classes, a random batch of 256. A time is the median of TURNS turns; the share is 2 x multiply-adds /
time over the measured matrix product. Where shares are alike, the count says what a step costs. What counts as
bytes is the stored synapses, float32.
"""

import workload
from rich.console import Console
from rich.table import Table

from sam_jax import RULES

TURNS = 5
SWEEPS = {  # hidden widths, d̄/d
    "width (3 hidden, d̄ = d)": [((width,) * 3, 1) for width in (50, 100, 200, 400, 800, 1600, 4096)],
    "hidden layers (d = d̄ = 200)": [((200,) * depth, 1) for depth in (2, 4, 8, 16, 32)],
    "d̄/d (3 hidden, d = 200)": [((200,) * 3, ratio) for ratio in (0.25, 0.5, 1, 2, 4, 8, 16)],
}


def row(hidden, ratio, gflops) -> dict:
    circuit = RULES["sam"]((784, *hidden, 10), tuple(int(ratio * width) for width in hidden))
    counted = 2 * workload.BATCH * workload.multiply_adds(circuit) / 1e9
    steps = max(1, min(40, int(gflops / 4 / counted)))  # about a quarter of a second, or one step
    turns = workload.in_turn({"step": workload.stepper(circuit, "sam", steps)}, TURNS)
    ms = 1000 * workload.median(turns, "step") / steps
    sizes = {"hidden": hidden, "ratio": ratio, "synapse_bytes": workload.synapse_bytes("sam", circuit)}
    return sizes | {"counted_gflop": counted, "ms": ms, "share_of_ceiling": 1000 * counted / ms / gflops}


def measure() -> None:
    peak, found = workload.ceilings(), {}
    table = Table(title=f"A SAM step, batch 256; matrix product {peak['gflops']:.0f} GFLOP/s")
    for column in ("", "hidden", "d̄/d", "synapses MB", "counted GFLOP", "ms", "of ceiling"):
        table.add_column(column, justify="right" if column else "left")
    for sweep, cases in SWEEPS.items():
        found[sweep] = [row(hidden, ratio, peak["gflops"]) for hidden, ratio in cases]
        for place, entry in enumerate(found[sweep]):
            hidden = f"{len(entry['hidden'])} × {entry['hidden'][0]}"
            numbers = f"{entry['synapse_bytes'] / 1e6:.2f}", f"{entry['counted_gflop']:.3f}", f"{entry['ms']:.2f}"
            share = f"{100 * entry['share_of_ceiling']:.0f} %"
            table.add_row("" if place else sweep, hidden, f"{entry['ratio']:g}", *numbers, share)
        table.add_section()
    Console(width=110).print(table)
    workload.write({"ceilings": peak, "sizes": found})


if __name__ == "__main__":
    workload.main(measure)
