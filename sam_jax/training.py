"""Training, the same for every rule: step -> epoch (one compiled scan) -> run; and evaluation.

Shapes: R runs at once (seeds, or seeds and settings), B examples in a batch, N examples in a split,
P pixels. Randomness: `fold_in(fold_in(run_key, epoch), ...)`, epoch 0 being the initial state, so
that a run sees the same stream whatever runs beside it.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sam_jax import devices, dynamics, losses, plasticity
from sam_jax.circuit import Circuit, State, Synapses
from sam_jax.inputs import Data, standardise
from sam_jax.interventions import Intervention, intervene
from sam_jax.mirror import Mirroring, mirror

EVALUATION_BATCH = 1000
DIVERGED_AT = 10.0  # a loss of this many times the loss before training


class Protocol(NamedTuple):
    """What is fixed about a training run, hashable: a new protocol is a new compiled program.

    Attributes:
      circuit: the circuit.
      loss: one of losses.LOSSES' values.
      batch_size: B; the last N mod B examples of an epoch's fresh permutation wait for the next one.
      epochs: the run's length, which the schedule needs.
      schedule: one of plasticity.SCHEDULES; `cosine` falls from 1 to 0 over the run.
      warmup_epochs: epochs of linear rise before the schedule.
      decay_times_rate: see `plasticity.optimizer`.
      mirror_steps_before, mirror_steps_after: mirror steps before training and after each update.
      auc: also compute the macro AUC, on the host.
      evaluate_every: epochs between two evaluations; the last epoch is always evaluated.
      interventions: what is frozen or lesioned, and after which epoch.
    """

    circuit: Circuit
    loss: losses.Loss
    batch_size: int
    epochs: int
    schedule: str = "cosine"
    warmup_epochs: float = 2.0
    decay_times_rate: bool = False
    mirror_steps_before: int = 500
    mirror_steps_after: int = 1
    auc: bool = False
    evaluate_every: int = 1
    interventions: tuple[Intervention, ...] = ()


class Settings(NamedTuple):
    """The numbers of a run; all may be traced, so that a sweep over them compiles once."""

    rates: Synapses
    decay: Any
    scales: Synapses
    mirroring: Mirroring = Mirroring()


class Run(NamedTuple):
    """The carried state of a run. `initial_loss` is that of the training split before training."""

    synapses: Synapses
    opt_state: optax.OptState
    key: jax.Array
    initial_loss: jax.Array
    diverged: jax.Array


class Metrics(NamedTuple):
    """What is measured on a split; `scores` [N, K] only where the AUC needs them."""

    loss: jax.Array
    accuracy: jax.Array
    scores: Any = ()


def make_optimizer(protocol: Protocol, settings: Settings, steps_per_epoch: int) -> optax.GradientTransformation:
    """The optimizer of eq. (8)-(11) with the protocol's schedule."""
    warmup, total = (int(epochs * steps_per_epoch) for epochs in (protocol.warmup_epochs, protocol.epochs))
    return plasticity.optimizer(
        settings.rates,
        settings.decay,
        plastic=protocol.circuit.plastic,
        schedule=plasticity.schedule(protocol.schedule, warmup, total),
        decay_times_rate=protocol.decay_times_rate,
    )


def train_step(protocol, settings, optimizer, synapses, opt_state, x, labels, key):
    """One batch, for every rule; the key is mirroring's alone.

    x [B, P] and labels [B] (or [B, K]) -> (synapses, optimizer state, the batch's mean loss before the update []).
    """
    circuit, loss = protocol.circuit, protocol.loss
    state = dynamics.forward(circuit, State(synapses), x)
    y_hat = state.activity.h[-1]
    state = dynamics.feedback(circuit, state, loss.error(y_hat, labels))
    gradients = dynamics.local_update(circuit, state)
    updates, opt_state = optimizer.update(gradients, opt_state, synapses)
    state = state._replace(synapses=optax.apply_updates(synapses, updates))
    if circuit.feedback_weights == "mirrored":
        steps = protocol.mirror_steps_after
        state = mirror(circuit, state, key, settings.mirroring, batch_size=protocol.batch_size, steps=steps)
    return state.synapses, opt_state, loss.value(y_hat, labels).mean()


def train_epoch(protocol: Protocol, settings: Settings, data: Data, run: Run, epoch: jax.Array):
    """One pass over a fresh permutation of the training split: (run, the largest batch loss)."""
    train = data.splits["train"]
    steps = len(train.images) // protocol.batch_size
    optimizer = make_optimizer(protocol, settings, steps)
    epoch_key = jax.random.fold_in(run.key, epoch)
    order = jax.random.permutation(jax.random.fold_in(epoch_key, 0), len(train.images))
    batches = order[: steps * protocol.batch_size].reshape(steps, protocol.batch_size)

    def step(carry, inputs):
        index, batch = inputs
        key = jax.random.fold_in(epoch_key, index)
        x = standardise(data, train.images[batch])
        *carry, loss = train_step(protocol, settings, optimizer, *carry, x, train.labels[batch], key)
        return tuple(carry), loss

    carry = (run.synapses, run.opt_state)
    carry, batch_losses = jax.lax.scan(step, carry, (jnp.arange(1, steps + 1), batches))
    return run._replace(synapses=carry[0], opt_state=carry[1]), batch_losses.max()


def evaluate(protocol: Protocol, data: Data, synapses: Synapses, split: str) -> Metrics:
    """Loss and accuracy over a split, every example counted once, the last incomplete batch too."""
    images, labels = data.splits[split]

    def answer(image):
        state = dynamics.forward(protocol.circuit, State(synapses), standardise(data, image[None]))
        return state.activity.h[-1][0]

    y_hat = jax.lax.map(answer, images, batch_size=EVALUATION_BATCH)
    scores = protocol.loss.scores(y_hat)
    loss = protocol.loss.value(y_hat, labels).mean()
    return Metrics(loss, losses.accuracy(scores, labels), scores if protocol.auc else ())


def start(protocol: Protocol, settings: Settings, data: Data, key: jax.Array) -> tuple[Run, dict[str, Metrics]]:
    """A run before training, mirrored if its rule mirrors, and its metrics."""
    circuit, start_key = protocol.circuit, jax.random.fold_in(key, 0)
    state = dynamics.init(circuit, jax.random.fold_in(start_key, 0), settings.scales)
    if circuit.feedback_weights == "mirrored":
        mirror_key, steps = jax.random.fold_in(start_key, 1), protocol.mirror_steps_before
        state = mirror(circuit, state, mirror_key, settings.mirroring, batch_size=protocol.batch_size, steps=steps)
    opt_state = make_optimizer(protocol, settings, 1).init(state.synapses)
    metrics = {split: evaluate(protocol, data, state.synapses, split) for split in data.splits}
    return Run(state.synapses, opt_state, key, metrics["train"].loss, jnp.zeros((), bool)), metrics


def advance(protocol: Protocol, settings: Settings, data: Data, run: Run, epochs: jax.Array):
    """The given epochs, then an evaluation: (run, metrics by split). A run that diverges stays as it was, for good.

    It diverges when a batch's mean loss, or the training split's loss at the evaluation, is not finite or
    exceeds DIVERGED_AT times the loss before training; it is then kept as it was before that epoch, or
    before these epochs. A diverged run's metrics mean nothing: read `diverged` first.
    """
    limit = DIVERGED_AT * run.initial_loss

    def one_epoch(run, epoch):
        after, peak = train_epoch(protocol, settings, data, run, epoch)
        return _unless(run.diverged | ~(peak <= limit), run, after), None

    after, _ = jax.lax.scan(one_epoch, run, epochs)
    metrics = {split: evaluate(protocol, data, after.synapses, split) for split in data.splits}
    lost = ~after.diverged & ~(metrics["train"].loss <= limit)
    return _unless(lost, run, after), metrics


def _unless(diverged, before, after):
    """`after`, or `before` marked as diverged."""
    kept = jax.tree.map(lambda old, new: jnp.where(diverged, old, new), before._replace(key=()), after._replace(key=()))
    return kept._replace(key=before.key, diverged=diverged | after.diverged)


@functools.partial(jax.jit, static_argnums=(0, 1))
def start_runs(protocol: Protocol, placed: devices.Layout, settings: Settings, data: Data, keys: jax.Array):
    """`start` for all runs: every leaf of `settings`, and `keys`, has a leading axis of them. Compiled."""
    begin = devices.over_runs(lambda data, key, s: start(protocol, s, data, key), placed)
    return begin(data, keys, settings)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=4)
def advance_runs(protocol: Protocol, placed: devices.Layout, settings: Settings, data: Data, runs: Run, epochs):
    """`advance` for all runs, which are donated. Compiled."""

    def some_epochs(shared, key, one):
        data, epochs = shared
        settings, run = one
        return advance(protocol, settings, data, run._replace(key=key), epochs)

    return devices.over_runs(some_epochs, placed)((data, epochs), runs.key, (settings, runs._replace(key=())))


def train(
    protocol: Protocol, settings: Settings, data: Data, seeds: list[int]
) -> Iterator[tuple[int, Run, dict[str, Metrics]]]:
    """Trains a run for each seed at once; yields (epoch, runs, metrics by split) at epoch 0 and each evaluation.

    Whole runs are shared out over the devices of this process (`devices.py`).

    Args:
      protocol: what is fixed.
      settings: the numbers; a leaf is one number for all runs, or has a leading axis of R.
      data: as `inputs.place` made it; the splits in it are evaluated.
      seeds: R seeds; a seed's run is the same whichever others run beside it.

    Every leaf that is yielded has a leading axis of R. The runs are donated to the next epochs: copy
    what is to be kept.

    Raises:
      ValueError: the batch is larger than the training split, or an intervention does not fit the circuit.
    """
    examples = len(data.splits["train"].images)
    if protocol.batch_size > examples:
        raise ValueError(f"batch_size is {protocol.batch_size}, expected at most the {examples} training images")
    circuit = protocol.circuit
    intervene(circuit, Synapses(), protocol.interventions, protocol.epochs)
    count, placed = len(seeds), devices.layout(seeds, jax.local_device_count())
    settings = jax.tree.map(lambda leaf: jnp.broadcast_to(jnp.asarray(leaf, float), (count,)), settings)
    settings, keys = jax.tree.map(
        lambda leaf: devices.padded(leaf, placed), (settings, jnp.stack([jax.random.key(seed) for seed in seeds]))
    )
    data = devices.everywhere(data, placed)
    plain = protocol._replace(interventions=(), evaluate_every=1)
    runs, metrics = start_runs(plain, placed, settings, data, keys)

    yield 0, *devices.without_padding((runs, metrics), count, placed)
    epoch, due = 0, {i.epoch for i in protocol.interventions} | {protocol.epochs}
    while epoch < protocol.epochs:
        now, synapses = intervene(circuit, runs.synapses, protocol.interventions, epoch)
        until = min(e for e in due | {epoch - epoch % protocol.evaluate_every + protocol.evaluate_every} if e > epoch)
        epochs = jnp.arange(epoch + 1, until + 1)
        runs = runs._replace(synapses=synapses)
        runs, metrics = advance_runs(plain._replace(circuit=now), placed, settings, data, runs, epochs)
        epoch = until
        yield epoch, *devices.without_padding((runs, metrics), count, placed)
