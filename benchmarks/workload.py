"""What the benchmarks time and count: steps on random data, multiply-adds, bytes; medians; the ceilings."""

import json
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

from sam_jax import RULES, footprint, init, losses, training
from sam_jax.lab import records
from sam_jax.rule import RATES

JSON = flags.DEFINE_string("json", None, "also write the measurements to this file")
BATCH = 256
SIZES = {"MNIST": (784, 200, 200, 200, 10), "CIFAR-10": (3072, 200, 200, 200, 10)}


def multiply_adds(circuit, batch: int = BATCH) -> int:
    """Of one step and one example, as `dynamics.py` computes it; eq. (9) in the cheaper order."""
    shapes = {p: [post * pre for post, pre in getattr(circuit.shapes, p)] for p in circuit.shapes._fields}
    count = 2 * sum(shapes["w"])  # forward and its update
    count += sum(shapes["w_bar"] or shapes["w"][1:])  # feedback
    for pathway in ("v", "v_bar"):
        count += sum(shapes[pathway])  # one product for both updates; V̄ h̄
    if "w_bar" in circuit.plastic:
        if shapes["v"]:  # V (aᵀ b), in which V is multiplied once for the batch, or (V aᵀ) b
            layers = [(*v, w_bar[1]) for v, w_bar in zip(circuit.shapes.v, circuit.shapes.w_bar, strict=True)]
            # The output layer's aᵀ b is minus the gradient of W, computed already.
            averages = [batch * d * pre for _, d, pre in layers[:-1]] + [0]
            orders = [
                (average + d_bar * d * pre, batch * d_bar * (d + pre))
                for average, (d_bar, d, pre) in zip(averages, layers, strict=True)
            ]
            count += sum(map(min, orders)) // batch
        else:
            count += sum(shapes["w_bar"])
    return count


def synapse_bytes(rule: str, circuit) -> int:
    """Of all stored pathways, float32."""
    return sum(footprint.need(RULES[rule], circuit, numbers_of(rule), BATCH).parts.values())


def protocol_of(rule: str, circuit, **fields) -> training.Protocol:
    """Steps at a constant rate; weight mirroring with one mirror step after each."""
    fields = {"schedule": "constant", "warmup_epochs": 0.0, "epochs": 1} | fields
    return training.Protocol(RULES[rule].functions, circuit, losses.cross_entropy, BATCH, **fields)


def numbers_of(rule: str, factor: float = 1.0) -> dict[str, float]:
    """The rule's numbers, its rates multiplied."""
    numbers = RULES[rule].settle({})
    return {name: factor * number if name in RATES else number for name, number in numbers.items()}


def arguments(protocol, numbers, steps: int) -> tuple:
    """What `compiled` takes: the initial synapses and memory, the optimizer's state, a batch and a key a step."""
    widths = protocol.circuit.widths
    x = jax.random.normal(jax.random.key(0), (BATCH, widths[0]))
    labels = jax.random.randint(jax.random.key(1), (BATCH,), 0, widths[-1])
    keys = jax.random.split(jax.random.key(2), steps)
    state = init(protocol.circuit, jax.random.key(3), numbers)
    optimizer = training.make_optimizer(protocol, numbers, steps)
    return state.synapses, state.memory, optimizer.init(state.synapses), x, labels, keys


def compiled(protocol, numbers, steps: int):
    """So many training steps on one batch, compiled: (synapses, memory, optimizer's state) and the losses.

    One batch, since a step's arithmetic is what is timed; copying batches is timed with an epoch (`startup.py`).
    """
    optimizer = training.make_optimizer(protocol, numbers, steps)

    @jax.jit
    def run(synapses, memory, opt_state, x, labels, keys):
        def step(carry, key):
            *carry, loss = training.train_step(protocol, numbers, optimizer, *carry, x, labels, key)
            return tuple(carry), loss

        return jax.lax.scan(step, (synapses, memory, opt_state), keys)

    return run


def stepper(circuit, rule: str, steps: int):
    """Compiled steps from the rule's initial state, as a function of nothing; compiled and run once here."""
    protocol, numbers = protocol_of(rule, circuit), numbers_of(rule)
    given, run = arguments(protocol, numbers, steps), compiled(protocol, numbers, steps)
    jax.block_until_ready(run(*given))
    return lambda: jax.block_until_ready(run(*given))


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turn(runs: dict, turns: int) -> list[dict]:
    """Seconds of each contender, in each turn: what slows the machine for a while slows all of them."""
    return [{name: seconds(run) for name, run in runs.items()} for _ in range(turns)]


def median(turns: list[dict], name: str, over: str | None = None) -> float:
    """Of a contender's seconds, or of its ratio to another's."""
    return statistics.median(turn[name] / (turn[over] if over else 1) for turn in turns)


def ceilings() -> dict:
    """GFLOP/s of a float32 matrix product of 2048, and GB/s of a pass over 256 MB (read and written)."""
    a, x = jnp.ones((2048, 2048)), jnp.ones(64 * 2**20)
    product, copy = jax.jit(lambda a: a @ a), jax.jit(lambda x: x + 1)
    runs = {"product": lambda: product(a).block_until_ready(), "copy": lambda: copy(x).block_until_ready()}
    in_turn(runs, 2)
    turns = in_turn(runs, 20)
    gflops, copied = 2 * 2048**3 / median(turns, "product") / 1e9, 2 * x.nbytes / median(turns, "copy") / 1e9
    return {"gflops": gflops, "copy_gb_s": copied}


def random_images(folder) -> pathlib.Path:
    """One's own .npz of 60,000 random images of CIFAR-10's size, in the folder."""
    random, path, arrays = np.random.default_rng(0), pathlib.Path(folder) / "random.npz", {}
    for split, n in (("train", 50_000), ("test", 10_000)):
        arrays[f"{split}_images"] = random.integers(256, size=(n, 32, 32, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = random.integers(10, size=n).astype(np.uint8)
    np.savez(path, **arrays)
    return path


def write(found: dict, **versions) -> None:
    """The measurements and the machine, where --json says."""
    if JSON.value:
        environment = records.environment()
        environment["versions"] |= versions
        text = json.dumps(found | {"environment": environment}, indent=1)
        pathlib.Path(JSON.value).write_text(text + "\n", encoding="utf-8")


def main(measure) -> None:
    """A benchmark's script: no arguments but flags; products at full float32 precision."""

    def started(argv):
        logging.set_verbosity(logging.WARNING)
        if len(argv) > 1:
            raise app.UsageError(f"{argv[1]!r} is no flag: --json=FILE is the only one")
        with jax.default_matmul_precision("highest"):
            measure()

    app.run(started)
