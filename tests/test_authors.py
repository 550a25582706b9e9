"""The authors' own code as the oracle: six steps of it in five settings, float64.

reference/authors_steps.npz was made by running the released code of the paper's first author
(github.com/liaoq/SAM_2026, the state of Table 1's time and that of the revised paper) on random batches, its
momentum begun again after three steps: facts of what it computes, with our names and orientation. `CASE/settings`
has its numbers, `CASE/step_K` the matrices after K steps.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stepping import assert_close

import sam_jax as sj
from sam_jax import plasticity, training
from sam_jax.lab import flags

REFERENCE = np.load(pathlib.Path(__file__).parent / "reference" / "authors_steps.npz")
CASES = sorted({name.partition("/")[0] for name in REFERENCE.files})
pytestmark = pytest.mark.usefixtures("float64")


def matrices(case, when, circuit):
    """The synapses of a case at `start` or after `step_K`."""
    return sj.Synapses(
        *(
            tuple(jnp.asarray(REFERENCE[f"{case}/{when}/{pathway}_{i}"]) for i in range(len(shapes)))
            for pathway, shapes in circuit.shapes._asdict().items()
        )
    )


def test_there_are_five_cases():
    assert CASES == ["2025", "2025_clipped", "2025_wider", "2026", "2026_wider"]


@pytest.mark.parametrize("case", CASES)
def test_the_steps_are_the_authors(case):
    said = json.loads(str(REFERENCE[f"{case}/settings"]))
    gated = ("w", "w_bar", "v") + (("v_bar",) if said["v_bar_postsynaptic"] == "relu(h)" else ())
    circuit = sj.sam(said["widths"], said["downstream_widths"], activation=said["activation"], gated=gated)
    rate = said["rate"]
    numbers = {f"rate_{pathway}": rate * factor for pathway, factor in said["rate_factors"].items()}
    numbers |= {f"decay_{p}": rate * said["decay_w" if p.startswith("w") else "decay_v"] for p in sj.PATHWAYS}
    numbers |= {"momentum": said["momentum"], "momentum_kept": 0.0}
    numbers["clip_norm"] = said["clip_global_norm"] * rate / numbers["rate_w"]
    protocol = training.Protocol(
        sj.sam.functions, circuit, sj.losses.cross_entropy, said["batch"], 2, "constant", warmup_epochs=0.0
    )
    optimizer = training.make_optimizer(protocol, numbers, said["momentum_restarts_every"])
    synapses = matrices(case, "start", circuit)
    assert jax.tree.map(jnp.shape, synapses) == circuit.shapes
    opt_state = optimizer.init(synapses)
    step = jax.jit(
        lambda *carry_and_batch: training.train_step(protocol, numbers, optimizer, *carry_and_batch, jax.random.key(0))
    )
    for n in range(6):
        if n % said["momentum_restarts_every"] == 0:
            opt_state = plasticity.carried_over(numbers, opt_state)
        x, labels = (jnp.asarray(REFERENCE[f"{case}/{name}"][n]) for name in ("x", "labels"))
        synapses, _, opt_state, loss = step(synapses, (), opt_state, x, labels)
        np.testing.assert_allclose(loss, REFERENCE[f"{case}/loss"][n], rtol=1e-12)
        assert_close(synapses, matrices(case, f"step_{n + 1}", circuit))


def test_the_clipped_case_is_clipped_and_the_momentum_does_begin_again():
    # Else the comparison above would not see a wrong one: the norms that it clips, and the matrices without a restart.
    assert (
        REFERENCE["2025_clipped/gradient_norm"].min()
        > json.loads(str(REFERENCE["2025_clipped/settings"]))["clip_global_norm"]
    )
    kept = plasticity.optimizer({"rate_w": 1.0, "momentum": 0.9}, plastic=("w",))
    one = sj.Synapses(w=(jnp.ones((1, 1)),))
    _, state = kept.update(one, kept.init(one), one)
    for share, expected in ((0.0, -1.0), (0.5, -1.45), (1.0, -1.9)):
        numbers = {"momentum": 0.9, "momentum_kept": share}
        updates, _ = kept.update(one, plasticity.carried_over(numbers, state), one)
        np.testing.assert_allclose(updates.w[0], expected)
    assert plasticity.carried_over({"momentum": 0.9}, state) is state


@pytest.mark.parametrize("recipe", ["authors2025", "authors2026"])
def test_the_recipes_files_say_what_the_authors_code_was_given(recipe):
    """Their rates are factors of one rate, 5e-3; the reference's cases ran at ten times that."""
    from sam_jax.experiments import table1

    said = json.loads(str(REFERENCE[f"{recipe[-4:]}/settings"]))
    options = flags.parse(table1.EXPERIMENT, ["table1.py", f"--recipe={recipe}"])
    numbers = options.numbers_of(sj.sam, "cifar10", {})
    for pathway, factor in said["rate_factors"].items():
        assert numbers[f"rate_{pathway}"] == pytest.approx(5e-3 * factor)
        decay = said["decay_w" if pathway.startswith("w") else "decay_v"]
        assert numbers.get(f"decay_{pathway}", numbers["decay"]) == pytest.approx(5e-3 * decay)
        assert numbers[f"scale_{pathway}"] == pytest.approx(3**-0.5)
    assert (numbers["momentum"], numbers["momentum_kept"], numbers["clip_norm"]) == (0.9, 0.0, 50.0)
    plain = {"h": {"w", "w_bar", "v"}, "relu(h)": set(sj.PATHWAYS)}[said["v_bar_postsynaptic"]]
    assert set(options.gated) == plain and options.pixels == "symmetric" and options.initial == "uniform"
    assert (options.schedule, options.warmup_epochs, options.epochs, options.batch_size) == ("constant", 0, 50, 256)
    assert options.last_batch and options.train_on_val
    sgd = options.numbers_of(sj.sgd, "cifar10", {})
    assert sgd == {"rate_w": 5e-3, "decay": 0.0, "momentum": 0.9, "scale_w": pytest.approx(3**-0.5)}


def test_uniform_matrices_are_within_one_over_the_root_of_the_fan_in():
    circuit = sj.sam((300, 200, 100), initial="uniform")
    scales = {f"scale_{pathway}": 3**-0.5 for pathway in sj.PATHWAYS}
    synapses = sj.init(circuit, jax.random.key(0), scales).synapses
    for matrix, fan_in in ((synapses.w[0], 300), (synapses.w_bar[0], 200), (synapses.v_bar[0], 200)):
        scaled = np.asarray(matrix) * fan_in**0.5
        assert np.abs(scaled).max() <= 1 and np.abs(scaled).max() > 0.99
        np.testing.assert_allclose(np.mean(scaled**2), 1 / 3, rtol=0.03)
