"""The benchmarks' count is what XLA compiles, their page is made of stored measurements, the search at once runs."""

import json
import math
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import sam_jax as sj
from sam_jax import losses, training

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "benchmarks"))
import page
import workload

HERE = pathlib.Path(page.__file__).parent


def products(rule, protocol, batch: int) -> int:
    """Multiply-adds of all matrix products of a compiled step, read off its program, each once."""
    numbers = workload.numbers_of(rule)
    state = sj.init(protocol.circuit, jax.random.key(0))
    optimizer = training.make_optimizer(protocol, numbers, 1)

    def step(synapses, x, labels):
        opt_state = optimizer.init(synapses)
        key = jax.random.key(0)
        return training.train_step(protocol, numbers, optimizer, synapses, (), opt_state, x, labels, key)[0]

    x, labels = jnp.zeros((batch, protocol.circuit.widths[0])), jnp.zeros(batch, int)
    text = jax.jit(step).lower(state.synapses, x, labels).compile().as_text()
    shapes = dict(re.findall(r"(%[\w.-]+) = f32\[([\d,]*)\]", text))
    count = 0
    for result, left, contracted in re.findall(
        r"= f32\[([\d,]*)\]\S* dot\((?:f32\[[\d,]*\]\S* )?(%[\w.-]+),.*lhs_contracting_dims={(\d)}", text
    ):
        count += math.prod(map(int, result.split(","))) * int(shapes[left].split(",")[int(contracted)])
    return count


@pytest.mark.slow
def test_the_fuzzer_counts_and_adds_to_what_was_counted_before(tmp_path):
    path = tmp_path / "fuzz.json"
    for names in ("intervention,config", "metrics"):
        flags = ("--minutes=0.01", f"--parsers={names}", f"--json={path}")
        subprocess.run([sys.executable, HERE / "fuzz.py", *flags], check=True, capture_output=True)
    held = json.loads(path.read_text())
    assert list(held["parsers"]) == ["intervention", "config", "metrics"] and "versions" in held["environment"]
    for found in held["parsers"].values():
        assert found["inputs"] == found["accepted"] + found["refused"] > 0 and found["crashes"] == 0
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("rule", "circuit"),
    [
        ("sgd", sj.sgd((40, 30, 20, 10))),
        ("fa", sj.fa((40, 30, 20, 10))),
        ("kp", sj.kp((40, 30, 20, 10))),
        ("sam", sj.sam((40, 30, 20, 10), (50, 15))),
        ("sam", sj.sam((40, 130, 120, 10), (150, 170))),  # the other order of eq. (9) at its first layer
    ],
    ids=["sgd", "fa", "kp", "sam", "wide sam"],
)
def test_the_counted_products_are_those_of_the_compiled_step(rule, circuit):
    batch = 64
    protocol = training.Protocol(sj.RULES[rule].functions, circuit, losses.cross_entropy, batch, 1)
    counted = workload.multiply_adds(circuit, batch) * batch
    assert counted <= products(rule, protocol, batch) < counted + batch  # the count is for an example, rounded down


def test_a_pathways_bytes_are_counted():
    state = sj.init(sj.sam((40, 30, 20, 10), (50, 15)), jax.random.key(0))
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(state.synapses))
    assert workload.synapse_bytes("sam", sj.sam((40, 30, 20, 10), (50, 15))) == held


def test_the_page_of_measurements_is_made_of_the_stored_ones(tmp_path, monkeypatch):
    shutil.copytree(HERE / "results", tmp_path / "results")
    text = (HERE / "README.md").read_text(encoding="utf-8")
    before, after = text[: text.index(page.BEGIN)], text[text.index(page.END) :]
    (tmp_path / "README.md").write_text(f"{before}{page.BEGIN}\nold\n{after}", encoding="utf-8")
    monkeypatch.setattr(page, "HERE", tmp_path)
    page.main()
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == text
    assert "sam, CIFAR-10" in text and "Not run here." in text


@pytest.mark.slow
def test_the_search_at_once_runs(tmp_path):
    small = ("--settings=2", "--seeds=2", "--epochs=1", "--images=256", "--json=found.json")
    command = [sys.executable, HERE / "search_at_once.py", *small]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    counted = 2 * 2 * 2 * 256 * workload.multiply_adds(sj.sam((3072, 200, 200, 200, 10)))
    assert math.isclose(found["floor_flop_s"], counted / found["ceilings"]["gflops"] / 1e9 / found["devices"])
    assert found["search_s"] > 0 and found["compile_s"] > 0 and found["diverged"] == 0
