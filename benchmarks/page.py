"""README.md's numbers, made from the stored measurements: floor, measured, gap.

python benchmarks/page.py        # after `make bench`; rewrites what stands between the two marks of README.md
"""

import json
import pathlib

from sam_jax.lab.tables import grid

HERE = pathlib.Path(__file__).parent
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"


def machine(found: dict) -> str:
    environment = found["environment"]
    device, versions, processor = (environment[name] for name in ("device", "versions", "processor"))
    torch = f", PyTorch {versions['torch']}" if "torch" in versions else ""
    where = f"{processor['cores']} cores of {processor['name']}"
    where = where if device["platform"] == "cpu" else f"{device['count']} × {device['kind']}"
    return f"{where}; Python {versions['python']}, jax {versions['jax']}{torch}"


def steps(found: dict) -> str:
    peak, rows = found["ceilings"]["gflops"], []
    for row in found["steps"]:
        floor, ms = 1000 * row["counted_gflop"] / peak, row["ms"]
        if row["rule"] == "wm":
            rows.append([f"wm, {row['size']}", "", f"{ms['sam_jax']:.2f}", *[""] * 5])
            continue
        wider = f", d̄ = {row['ratio']} d" if row["ratio"] > 1 else ""
        over = row["over_ours"]
        measured = [f"{floor:.2f}", f"{ms['sam_jax']:.2f}", f"{ms['sam_jax'] / floor:.2f}"]
        measured += [f"{100 * row['share_of_ceiling']:.0f} %", f"{ms['eager']:.2f}", f"{over['eager']:.2f}"]
        rows.append([f"{row['rule']}, {row['size']}{wider}", *measured, f"{over['compile']:.2f}"])
    columns = ["a step, ms", "floor", "sam_jax", "gap ×", "of the ceiling", "eager", "eager ÷ ours", "compile ÷ ours"]
    title = f"Ceilings: matrix product {peak:.0f} GFLOP/s, memory {found['ceilings']['copy_gb_s']:.1f} GB/s.\n\n"
    return title + grid(columns, rows)


def runs(found: dict) -> str:
    rows = [
        [str(r["runs"]), f"{r['models_steps_per_s']:.0f}", f"{r['cost']:.2f}", f"{r['bytes_each'] / 1e6:.1f}"]
        for r in found["runs"]
    ]
    return grid(["runs at once", "models × steps / s", "cost of a run against one alone", "planned MB a run"], rows)


def sizes(found: dict) -> str:
    peak, rows = found["ceilings"]["gflops"], []
    for sweep, entries in found["sizes"].items():
        for entry in entries:
            floor = 1000 * entry["counted_gflop"] / peak
            name = f"{sweep}: {len(entry['hidden'])} × {entry['hidden'][0]}, {entry['ratio']:g}"
            numbers = f"{entry['synapse_bytes'] / 1e6:.2f}", f"{floor:.2f}", f"{entry['ms']:.2f}"
            rows.append([name, *numbers, f"{entry['ms'] / floor:.2f}"])
    return grid(["sweep: hidden layers, d̄/d", "synapses MB", "floor ms", "measured ms", "gap ×"], rows)


def startup(found: dict) -> str:
    cold, cached = found["startup_s"]["cold"], found["startup_s"]["cached"]
    return grid(["s", "cold", "with the compilation cache"], [[n, f"{cold[n]:.2f}", f"{cached[n]:.2f}"] for n in cold])


def limits(found: dict) -> str:
    rows = [
        [
            f"SAM's step over SGD's, {row['size']} (by count {row['counted_ratio']:.2f})",
            f"{row['ratio']:.2f}" + (", over it" if row["ratio"] > 1.6 else ""),
            "1.6",
        ]
        for row in found["steps"]
    ]
    rows.append(["memory of a run on 60,000 images of CIFAR-10's size", f"{found['memory_gb']:.2f} GB", "2 GB"])
    rows.append(["`import sam_jax`", f"{found['import_s']:.2f} s", "1 s"])
    return grid(["what", "measured", "limit"], rows)


def search(found: dict) -> str:
    size = f"{found['settings']} settings × {found['seeds']} seeds × {found['epochs']} epochs"
    eager = f"{found['eager_s']:,.0f}" if found["eager_s"] else "not measured"
    floor = max(found["floor_bytes_s"], found["floor_flop_s"])
    row = [size, f"{floor:.1f}", f"{found['search_s']:.1f}", f"{found['search_s'] / floor:.2f}"]
    return grid(
        ["search, s", "floor", "measured", "gap ×", "compile", "eager"], [[*row, f"{found['compile_s']:.0f}", eager]]
    )


SECTIONS = {
    "steps": ("A step of each rule, batch 256", steps),
    "runs": ("Runs at once", runs),
    "sizes": ("Widths, depths, d̄/d", sizes),
    "startup": ("Start-up", startup),
    "limits": ("What the project promises of itself", limits),
    "search_at_once": ("The search at once", search),
}


def main() -> None:
    parts = []
    for folder in sorted(path for path in (HERE / "results").iterdir() if path.is_dir()):
        parts.append(f"## {folder.name}")
        for name, (title, section) in SECTIONS.items():
            if not (folder / f"{name}.json").is_file():
                parts.append(f"### {title}\n\nNot run here.")
                continue
            found = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            parts.append(f"### {title}\n\n{machine(found)}.\n\n{section(found)}")
    readme = HERE / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    readme.write_text(before + "\n\n" + "\n\n".join(part.rstrip() for part in parts) + "\n\n" + after, encoding="utf-8")


if __name__ == "__main__":
    main()
