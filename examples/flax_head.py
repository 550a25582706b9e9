"""A Flax head, trained by backprop and Adam, on the features of a SAM circuit, trained by its own local rule.

python examples/flax_head.py

Printed beside it: the circuit's own answers, and the same head on the features of the circuit before it
learned. On an easy set such as the digits, random features are good already: the difference is what counts.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import sam_jax as sj

WIDTHS = (64, 60, 60, 10)


class Head(nn.Module):
    """Features [B, d] -> class scores [B, classes]."""

    classes: int
    width: int = 30

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        return nn.Dense(self.classes)(nn.relu(nn.Dense(self.width)(features)))


def features(circuit: sj.Circuit, synapses: sj.Synapses, x: jax.Array) -> jax.Array:
    """What the last hidden layer sends, φ(h^{L-1}): x [B, d_1] -> [B, d_{L-1}]."""
    state = sj.forward(circuit, sj.State(synapses), x)
    return circuit.phi(state.activity.h[-2])


def loss(params, head: Head, inputs: jax.Array, labels: jax.Array) -> jax.Array:
    return sj.losses.cross_entropy.value(head.apply(params, inputs), labels).mean()


def train_head(head: Head, inputs: jax.Array, labels: jax.Array, *, seed: int, epochs: int = 20, batch_size: int = 64):
    """The head's parameters after `epochs` of Adam on inputs [N, d] and labels [N]."""
    optimizer = optax.adam(3e-3)
    steps = len(inputs) // batch_size

    def step(carry, batch):
        params, opt_state = carry
        grads = jax.grad(loss)(params, head, inputs[batch], labels[batch])
        updates, opt_state = optimizer.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    @jax.jit
    def run(key):
        params = head.init(key, inputs[:1])
        keys = jax.random.split(jax.random.fold_in(key, 1), epochs)
        orders = jax.vmap(lambda k: jax.random.permutation(k, len(inputs))[: steps * batch_size])(keys)
        return jax.lax.scan(step, (params, optimizer.init(params)), orders.reshape(-1, batch_size))[0][0]

    return run(jax.random.key(seed))


def compare(seed: int = 0, epochs: int = 20) -> dict[str, float]:
    """Test accuracies, 0 to 1, by what answers."""
    dataset = sj.load("digits")
    net = sj.train(sj.sam, WIDTHS, dataset, seeds=[seed], epochs=epochs, batch_size=64)
    learned = jax.tree.map(lambda matrices: jnp.asarray(matrices[0]), net.synapses)
    data = sj.inputs.place(dataset)
    nothing = sj.train(sj.sam, WIDTHS, dataset, seeds=[seed], epochs=0, batch_size=64)  # the same draw
    untrained = jax.tree.map(lambda matrices: jnp.asarray(matrices[0]), nothing.synapses)
    (train, labels), (test, test_labels) = data.splits["train"], data.splits["test"]
    head = Head(WIDTHS[-1])

    def accuracy_on(synapses):
        seen, unseen = (features(net.circuit, synapses, sj.inputs.standardise(data, part)) for part in (train, test))
        params = train_head(head, seen, labels, seed=seed, epochs=epochs)
        return float(jnp.mean(head.apply(params, unseen).argmax(axis=1) == test_labels))

    return {
        "the circuit itself": float(np.mean(net.predict(dataset.test.images)[0] == dataset.test.labels)),
        "a Flax head on its features": accuracy_on(learned),
        "the same head on untrained features": accuracy_on(untrained),
    }


def main() -> None:
    print("digits, seed 0, test accuracy:")
    for what, accuracy in compare().items():
        print(f"{100 * accuracy:5.1f} %  {what}")


if __name__ == "__main__":
    main()
