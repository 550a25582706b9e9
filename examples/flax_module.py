"""A SAM circuit as a Flax module: its synapses are a collection of variables, its step is its own rule's.

python examples/flax_module.py

`params` is the collection that optimizers and `jax.grad` look for; the synapses of a circuit that learns by
a local rule are none of that, so they have a collection of their own, `synapses`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import sam_jax as sj

WIDTHS = (64, 60, 60, 10)


class Motif(nn.Module):
    """x [B, d_1] -> the circuit's activity, whose last h is ŷ [B, d_L].

    Attributes:
      circuit: the static description, hashable as Flax wants its attributes.
      scales: `scale_w`, ... as pairs, with which `init` draws the synapses.
    """

    circuit: sj.Circuit
    scales: tuple[tuple[str, float], ...] = ()

    @nn.compact
    def __call__(self, x: jax.Array) -> sj.Activity:
        def drawn():
            return sj.init(self.circuit, self.make_rng("synapses"), dict(self.scales)).synapses

        synapses = self.variable("synapses", "circuit", drawn).value
        return sj.forward(self.circuit, sj.State(synapses), x).activity


def update(module: Motif, variables, x: jax.Array, labels: jax.Array):
    """A descent direction shaped like `variables`: what `jax.grad` would be for a module with `params`."""
    activity = module.apply(variables, x)
    state = sj.State(variables["synapses"]["circuit"], activity)
    error = sj.losses.cross_entropy.error(activity.h[-1], labels)
    state = sj.feedback(module.circuit, state, error)
    return {"synapses": {"circuit": sj.local_update(module.circuit, state)}}


def train(seed: int = 0, epochs: int = 30, batch_size: int = 64) -> float:
    """Trains on the digits by the circuit's own rates and decay; returns the test accuracy, 0 to 1."""
    rule = sj.sam
    numbers = rule.settle()
    scales = tuple((name, value) for name, value in numbers.items() if name.startswith("scale_"))
    module = Motif(rule(WIDTHS), scales)
    data = sj.inputs.place(sj.load("digits"))
    images, labels = data.splits["train"]
    x = sj.inputs.standardise(data, images)

    def fresh(key):
        return module.init({"synapses": key}, x[:1])

    steps = len(images) // batch_size
    schedule = sj.plasticity.make_schedule("cosine", 2 * steps, epochs * steps)
    optimizer = sj.plasticity.optimizer(numbers, plastic=module.circuit.plastic, schedule=schedule)

    def step(carry, batch):
        variables, opt_state = carry
        synapses = variables["synapses"]["circuit"]
        grads = update(module, variables, x[batch], labels[batch])["synapses"]["circuit"]
        updates, opt_state = optimizer.update(grads, opt_state, synapses)
        return ({"synapses": {"circuit": optax.apply_updates(synapses, updates)}}, opt_state), None

    @jax.jit
    def run(key):
        variables = fresh(key)
        carry = (variables, optimizer.init(variables["synapses"]["circuit"]))
        keys = jax.random.split(jax.random.fold_in(key, 1), epochs)

        def epoch(carry, key):
            order = jax.random.permutation(key, len(images))[: steps * batch_size]
            return jax.lax.scan(step, carry, order.reshape(steps, batch_size))

        return jax.lax.scan(epoch, carry, keys)[0][0]

    variables = run(jax.random.key(seed))
    images, labels = data.splits["test"]
    y_hat = module.apply(variables, sj.inputs.standardise(data, images)).h[-1]
    return float(jnp.mean(y_hat.argmax(axis=1) == labels))


def main() -> None:
    print(f"SAM as a Flax module, digits, seed 0: test accuracy {100 * train():.1f} %")


if __name__ == "__main__":
    main()
