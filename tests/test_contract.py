"""The circuit's four functions with jit and without, plain and mapped over runs, against the NumPy circuit.

chex's variants make two tests of each. The circuits tie W̄, meet one to one, or are SAM's with streams of two widths.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import numpy_oracle
from absl.testing import parameterized
from stepping import batch
from stepping import synapses as random_synapses

import sam_jax as sj

CIRCUITS = {
    "sgd": sj.sgd((6, 5, 3)),
    "kp": sj.kp((6, 5, 3), activation="tanh"),
    "sam": sj.sam((6, 5, 4, 3), (7, 2)),
}
LOSS = sj.losses.cross_entropy
SEEDS = (0, 1)


def upstream(circuit, synapses, x, labels):
    return sj.forward(circuit, sj.State(synapses), x)


def downstream(circuit, synapses, x, labels):
    state = upstream(circuit, synapses, x, labels)
    return sj.feedback(circuit, state, LOSS.error(state.activity.h[-1], labels))


def descent(circuit, synapses, x, labels):
    return sj.local_update(circuit, downstream(circuit, synapses, x, labels))


def drawn(circuit, key):
    return sj.init(circuit, key, {"scale_v": 0.5})


def mapped(function, circuit, *runs):
    return jax.vmap(lambda *run: function(circuit, *run))(*runs)


def examples(circuit, seed):
    """(synapses, x, labels) and what the NumPy circuit makes of them: (h, h̄, the directions of eq. (8)-(11))."""
    synapses, (x, labels) = random_synapses(circuit, seed), batch(circuit, LOSS.name, 4, seed)
    y = np.eye(circuit.widths[-1])[np.asarray(labels)]
    rates = dict.fromkeys(sj.PATHWAYS, 1.0)
    h, h_bar, direction, _ = numpy_oracle.one_step(circuit, synapses, np.asarray(x), y, LOSS.name, rates, 0.0)
    return (synapses, x, labels), (tuple(h), tuple(h_bar), sj.Synapses(**direction))


class ContractTest(chex.TestCase):
    def ways(self, function, circuit, runs):
        """What each run gives, alone and mapped beside the others: pairs (place of the run, result)."""
        yield 0, self.variant(function, static_argnums=0)(circuit, *runs[0])
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *runs)
        together = self.variant(mapped, static_argnums=(0, 1))(function, circuit, *stacked)
        for run in range(len(runs)):
            yield run, jax.tree.map(lambda leaf, run=run: leaf[run], together)

    def check(self, name, function, expected_of):
        circuit = CIRCUITS[name]
        with jax.enable_x64(True):
            runs, expected = zip(*(examples(circuit, seed) for seed in SEEDS), strict=True)
            for run, result in self.ways(function, circuit, runs):
                chex.assert_trees_all_close(result, expected_of(*expected[run]), rtol=1e-12, atol=1e-14)

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(*CIRCUITS)
    def test_forward(self, name):
        def expected(h, h_bar, direction):
            return h

        self.check(name, lambda *run: upstream(*run).activity.h, expected)

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(*CIRCUITS)
    def test_feedback(self, name):
        def expected(h, h_bar, direction):
            return h_bar

        self.check(name, lambda *run: downstream(*run).activity.h_bar, expected)

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(*CIRCUITS)
    def test_local_update(self, name):
        def expected(h, h_bar, direction):  # the descent has the other sign
            return jax.tree.map(np.negative, direction)

        self.check(name, descent, expected)

    @chex.variants(with_jit=True, without_jit=True)
    def test_init(self):
        """One key, one circuit, however it is drawn; of the shapes in `circuit.py`'s table."""
        circuit, keys = CIRCUITS["sam"], [jax.random.key(seed) for seed in SEEDS]
        shapes = {
            "w": [(5, 6), (4, 5), (3, 4)],
            "w_bar": [(7, 2), (2, 3)],
            "v": [(7, 5), (2, 4)],
            "v_bar": [(5, 7), (4, 2)],
        }
        alone = [drawn(circuit, key) for key in keys]
        assert {p: [m.shape for m in matrices] for p, matrices in alone[0].synapses._asdict().items()} == shapes
        for run, state in self.ways(drawn, circuit, [(key,) for key in keys]):
            chex.assert_trees_all_close(state, alone[run], rtol=1e-6)
