"""Training, the same for every rule: step -> epoch (one compiled scan) -> run; and evaluation.

Shapes: R runs at once (seeds, or seeds and settings), B examples in a batch, N examples in a split,
P pixels. Randomness: `fold_in(fold_in(run_key, epoch), step)`, epoch 0 being the initial state, so
that a run sees the same stream whatever runs beside it.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sam_jax import devices, interventions, losses, plasticity
from sam_jax.circuit import PATHWAYS, Activity, Circuit, State, Synapses
from sam_jax.inputs import Data, standardise
from sam_jax.interventions import Intervention
from sam_jax.rule import Functions, Teacher

EVALUATION_BATCH = 1000
DIVERGED_AT = 10.0  # a loss of this many times the loss before training
GROWN = 10.0  # a matrix of this many times its norm before the epoch


class Protocol(NamedTuple):
    """What is fixed about a training run, hashable: a new protocol is a new compiled program.

    Attributes:
      rule: the five functions of the rule, `Rule.functions`.
      circuit: the circuit.
      loss: one of losses.LOSSES' values.
      batch_size: B.
      last_batch: whether the last N mod B examples of an epoch's fresh permutation are a batch too, smaller
        than the others; else they wait for the next one.
      epochs: the run's length, which the schedule needs.
      schedule: one of plasticity.SCHEDULES; `cosine` falls from 1 to 0 over the run.
      warmup_epochs: epochs of linear rise before the schedule.
      decay_times_rate: see `plasticity.optimizer`.
      optimizer: any optax optimizer, in place of `plasticity.optimizer`; the numbers' rates, decay,
        momentum and clip_norm, the schedule and the warm-up are then not read.
      auc: also compute the macro AUC, on the host.
      evaluate_every: epochs between two evaluations; the last epoch is always evaluated.
      interventions: what is frozen or lesioned, and after which epoch.

    >>> import sam_jax as sj
    >>> protocol = sj.training.Protocol(
    ...     sj.sam.functions, sj.sam((64, 20, 10)), sj.losses.cross_entropy, batch_size=32, epochs=5
    ... )
    >>> protocol._replace(interventions=(sj.interventions.parse("freeze", "v_bar@2"),)).plastic
    ('w', 'w_bar', 'v')
    """

    rule: Functions
    circuit: Circuit
    loss: losses.Loss
    batch_size: int
    epochs: int
    schedule: str = "cosine"
    warmup_epochs: float = 2.0
    decay_times_rate: bool = False
    optimizer: optax.GradientTransformation | None = None
    auc: bool = False
    evaluate_every: int = 1
    last_batch: bool = False
    interventions: tuple[Intervention, ...] = ()

    @property
    def plastic(self) -> tuple[str, ...]:
        """The pathways that `local_update` changes now."""
        frozen = interventions.frozen(self.interventions)
        return tuple(pathway for pathway in self.circuit.plastic if pathway not in frozen)


class Run(NamedTuple):
    """The carried state of a run.

    >>> import jax, sam_jax as sj
    >>> data = sj.inputs.place(sj.load("digits"))
    >>> protocol = sj.training.Protocol(sj.sgd.functions, sj.sgd((64, 10)), sj.losses.cross_entropy, 64, epochs=2)
    >>> run, _ = sj.training.start(protocol, sj.sgd.settle(), data, jax.random.key(0))
    >>> run.synapses.w[0].shape, bool(run.diverged)
    ((10, 64), False)

    Attributes:
      synapses: the matrices.
      memory: what the rule carries along.
      opt_state: what the optimizer carries along.
      key: the run's.
      initial_loss: that of the training split before training.
      epoch: how many epochs these synapses have had; it stands still once the run has diverged.
      diverged: whether it has.
    """

    synapses: Synapses
    memory: Any
    opt_state: optax.OptState
    key: Any
    initial_loss: jax.Array
    epoch: jax.Array
    diverged: jax.Array


class Metrics(NamedTuple):
    """What is measured on a split: mean loss, accuracy (0 to 1), and `scores` [N, K] only where the AUC needs them.

    >>> import sam_jax as sj
    >>> sj.training.Metrics(loss=0.5, accuracy=0.9)
    Metrics(loss=0.5, accuracy=0.9, scores=())
    """

    loss: jax.Array
    accuracy: jax.Array
    scores: Any = ()


def make_optimizer(protocol: Protocol, numbers: Mapping, steps_per_epoch: int) -> optax.GradientTransformation:
    """The protocol's own optimizer, or that of eq. (8)-(11) with its schedule.

    >>> import jax.numpy as jnp, sam_jax as sj
    >>> protocol = sj.training.Protocol(
    ...     sj.sgd.functions, sj.sgd((1, 1)), sj.losses.mse, 1, epochs=2, schedule="constant", warmup_epochs=0
    ... )
    >>> optimizer, one = sj.training.make_optimizer(protocol, {"rate_w": 0.5}, 10), sj.Synapses(w=(jnp.ones((1, 1)),))
    >>> optimizer.update(one, optimizer.init(one), one)[0].w[0].item()
    -0.5
    """
    if protocol.optimizer is not None:
        return plasticity.held(protocol.optimizer, protocol.plastic)
    warmup, total = (int(epochs * steps_per_epoch) for epochs in (protocol.warmup_epochs, protocol.epochs))
    return plasticity.optimizer(
        numbers,
        plastic=protocol.plastic,
        schedule=plasticity.make_schedule(protocol.schedule, warmup, total),
        decay_times_rate=protocol.decay_times_rate,
    )


def taught(protocol: Protocol, synapses, memory, x, labels, key) -> tuple[State, jax.Array]:
    """What a step sees of a batch: the state after `forward` and `feedback`, and the answer ŷ [B, K].

    >>> import jax, jax.numpy as jnp, sam_jax as sj
    >>> protocol = sj.training.Protocol(sj.sgd.functions, sj.sgd((4, 3)), sj.losses.mse, batch_size=2, epochs=1)
    >>> w = sj.init(protocol.circuit, jax.random.key(0)).synapses
    >>> state, y_hat = sj.training.taught(protocol, w, (), jnp.ones((2, 4)), jnp.array([0, 2]), jax.random.key(1))
    >>> y_hat.shape, [h_bar.shape for h_bar in state.activity.h_bar]
    ((2, 3), [(2, 3)])
    """
    rule, circuit, loss = protocol.rule, protocol.circuit, protocol.loss
    state = rule.forward(circuit, State(synapses, Activity(), memory), x)
    y_hat = state.activity.h[-1]
    teacher = Teacher(
        error=loss.error(y_hat, labels),
        targets=losses.targets(y_hat, labels),
        value=lambda other: loss.value(other, labels),
        key=jax.random.fold_in(key, 1),
    )
    return rule.feedback(circuit, state, teacher), y_hat


def train_step(protocol: Protocol, numbers: Mapping, optimizer, synapses, memory, opt_state, x, labels, key):
    """One batch, for every rule.

    x [B, P] and labels [B] (or [B, K]), `memory` the rule's, `opt_state` that of `make_optimizer`, a key for this step
    -> (synapses, memory, optimizer state, the batch's mean loss before the update []).

    >>> import jax, jax.numpy as jnp, sam_jax as sj
    >>> protocol = sj.training.Protocol(sj.sgd.functions, sj.sgd((2, 4)), sj.losses.cross_entropy, 3, epochs=1)
    >>> numbers, nothing = sj.sgd.settle(), sj.Synapses(w=(jnp.zeros((4, 2)),))
    >>> optimizer = sj.training.make_optimizer(protocol, numbers, 1)
    >>> x, labels = jnp.ones((3, 2)), jnp.array([0, 1, 2])
    >>> *_, loss = sj.training.train_step(
    ...     protocol, numbers, optimizer, nothing, (), optimizer.init(nothing), x, labels, jax.random.key(0)
    ... )
    >>> print(f"{loss:.4f} {jnp.log(4):.4f}")  # four classes, alike
    1.3863 1.3863
    """
    rule, circuit = protocol.rule, protocol.circuit
    state, y_hat = taught(protocol, synapses, memory, x, labels, key)
    # Frozen pathways are not asked for: what is not plastic costs nothing.
    asked = dataclasses.replace(circuit, plastic=protocol.plastic)
    gradients, memory = rule.local_update(asked, state, jax.random.fold_in(key, 2), numbers)
    updates, opt_state = optimizer.update(gradients, opt_state, synapses)
    state = state._replace(synapses=optax.apply_updates(synapses, updates), memory=memory)
    state = rule.after(circuit, state, key, numbers)
    frozen = {pathway: getattr(synapses, pathway) for pathway in interventions.frozen(protocol.interventions)}
    return state.synapses._replace(**frozen), state.memory, opt_state, protocol.loss.value(y_hat, labels).mean()


def train_epoch(
    protocol: Protocol, numbers: Mapping, data: Data, run: Run, epoch: jax.Array, watch=lambda synapses: ()
):
    """One pass over a fresh permutation of the training split: (run, the largest batch loss, what was watched).

    >>> import jax, sam_jax as sj
    >>> data = sj.inputs.place(sj.load("digits"))
    >>> protocol = sj.training.Protocol(sj.sgd.functions, sj.sgd((64, 10)), sj.losses.cross_entropy, 64, epochs=2)
    >>> run, _ = sj.training.start(protocol, sj.sgd.settle(), data, jax.random.key(0))
    >>> run, peak, _ = sj.training.train_epoch(protocol, sj.sgd.settle(), data, run, 1)
    >>> run.synapses.w[0].shape, peak.shape
    ((10, 64), ())

    `watch(synapses)` is taken after every step of the compiled loop, and stacked.
    """
    train = data.splits["train"]
    steps, rest = divmod(len(train.images), protocol.batch_size)
    also = protocol.last_batch and rest > 0
    optimizer = make_optimizer(protocol, numbers, steps + also)
    epoch_key = jax.random.fold_in(run.key, epoch)
    order = jax.random.permutation(jax.random.fold_in(epoch_key, 0), len(train.images))
    batches = order[: steps * protocol.batch_size].reshape(steps, protocol.batch_size)

    def step(carry, inputs):
        index, batch = inputs
        key = jax.random.fold_in(epoch_key, index)
        x = standardise(data, train.images[batch])
        *carry, loss = train_step(protocol, numbers, optimizer, *carry, x, train.labels[batch], key)
        return tuple(carry), (loss, watch(carry[0]))

    kept = plasticity.carried_over(numbers, run.opt_state) if protocol.optimizer is None else run.opt_state
    carry = (run.synapses, run.memory, kept)
    carry, (batch_losses, watched) = jax.lax.scan(step, carry, (jnp.arange(1, steps + 1), batches))
    peak = batch_losses.max()
    if also:
        carry, (loss, last) = step(carry, (steps + 1, order[steps * protocol.batch_size :]))
        peak = jnp.maximum(peak, loss)
        watched = jax.tree.map(lambda before, one: jnp.concatenate([before, one[None]]), watched, last)
    synapses, memory, opt_state = carry
    return run._replace(synapses=synapses, memory=memory, opt_state=opt_state, epoch=epoch), peak, watched


def answer(rule: Functions, circuit: Circuit, state: State, data: Data, images: jax.Array) -> jax.Array:
    """ŷ [N, K] for uint8 images [N, P], standardised as the training images were.

    >>> import jax, sam_jax as sj
    >>> data = sj.inputs.place(sj.load("digits"))
    >>> protocol = sj.training.Protocol(sj.sgd.functions, sj.sgd((64, 10)), sj.losses.cross_entropy, 64, epochs=2)
    >>> state = sj.init(protocol.circuit, jax.random.key(0))
    >>> sj.training.answer(protocol.rule, protocol.circuit, state, data, data.splits["test"].images).shape
    (359, 10)
    """

    def one(image):
        return rule.forward(circuit, state, standardise(data, image[None])).activity.h[-1][0]

    return jax.lax.map(one, images, batch_size=EVALUATION_BATCH)


def evaluate(protocol: Protocol, data: Data, synapses: Synapses, memory: Any, split: str) -> Metrics:
    """Loss and accuracy over a split, every example counted once, the last incomplete batch too.

    >>> import jax.numpy as jnp, sam_jax as sj
    >>> data = sj.inputs.place(sj.load("digits"))
    >>> protocol = sj.training.Protocol(sj.sgd.functions, sj.sgd((64, 10)), sj.losses.cross_entropy, 64, epochs=2)
    >>> nothing = sj.Synapses(w=(jnp.zeros((10, 64)),))
    >>> metrics = sj.training.evaluate(protocol, data, nothing, (), "test")
    >>> print(f"{metrics.loss:.4f} {jnp.log(10):.4f}")  # ten classes, alike
    2.3026 2.3026
    """
    images, labels = data.splits[split]
    y_hat = answer(protocol.rule, protocol.circuit, State(synapses, Activity(), memory), data, images)
    scores = protocol.loss.scores(y_hat)
    loss = protocol.loss.value(y_hat, labels).mean()
    return Metrics(loss, losses.accuracy(scores, labels), scores if protocol.auc else ())


def start(protocol: Protocol, numbers: Mapping, data: Data, key: jax.Array) -> tuple[Run, dict[str, Metrics]]:
    """A run before training, and its metrics.

    >>> import jax, sam_jax as sj
    >>> data = sj.inputs.place(sj.load("digits"))
    >>> protocol = sj.training.Protocol(sj.sgd.functions, sj.sgd((64, 10)), sj.losses.cross_entropy, 64, epochs=2)
    >>> run, metrics = sj.training.start(protocol, sj.sgd.settle(), data, jax.random.key(0))
    >>> sorted(metrics), bool(run.initial_loss == metrics["train"].loss)
    (['test', 'train', 'val'], True)
    """
    state = protocol.rule.init(protocol.circuit, jax.random.fold_in(key, 0), numbers)
    opt_state = make_optimizer(protocol, numbers, 1).init(state.synapses)
    metrics = {split: evaluate(protocol, data, state.synapses, state.memory, split) for split in data.splits}
    begun = (jnp.zeros((), int), jnp.zeros((), bool))
    run = Run(state.synapses, state.memory, opt_state, key, metrics["train"].loss, *begun)
    return run, metrics


def advance(protocol: Protocol, numbers: Mapping, data: Data, run: Run, epochs: jax.Array):
    """The given epochs, then an evaluation: (run, metrics by split). A run that diverges stays as it was, for good.

    It diverges when a batch's mean loss, or the training split's loss at the evaluation, is not finite or
    exceeds DIVERGED_AT times the loss before training; it is then kept as it was before that epoch, or
    before these epochs. A diverged run's metrics mean nothing: read `diverged` first.

    >>> import jax, jax.numpy as jnp, sam_jax as sj
    >>> data = sj.inputs.place(sj.load("digits"))
    >>> protocol = sj.training.Protocol(sj.sgd.functions, sj.sgd((64, 10)), sj.losses.cross_entropy, 64, epochs=2)
    >>> run, before = sj.training.start(protocol, sj.sgd.settle(), data, jax.random.key(0))
    >>> run, after = sj.training.advance(protocol, sj.sgd.settle(), data, run, jnp.array([1, 2]))
    >>> bool(after["train"].loss < before["train"].loss), bool(run.diverged)
    (True, False)
    """
    limit = DIVERGED_AT * run.initial_loss

    def one_epoch(run, epoch):
        after, peak, _ = train_epoch(protocol, numbers, data, run, epoch)
        return _unless(run.diverged | ~(peak <= limit), run, after), None

    after, _ = jax.lax.scan(one_epoch, run, epochs)
    metrics = {split: evaluate(protocol, data, after.synapses, after.memory, split) for split in data.splits}
    lost = ~after.diverged & ~(metrics["train"].loss <= limit)
    return _unless(lost, run, after), metrics


def _unless(diverged, before, after):
    """`after`, or `before` marked as diverged."""
    kept = jax.tree.map(lambda old, new: jnp.where(diverged, old, new), before._replace(key=()), after._replace(key=()))
    return kept._replace(key=before.key, diverged=diverged | after.diverged)


def first_to_diverge(protocol: Protocol, numbers: Mapping, data: Data, run: Run, until: int) -> tuple[int, str]:
    """When and where a diverged run blew up: (its epoch, the pathway), by going through its last epochs once more.

    It is the first pathway of which a layer's matrix has a norm of GROWN times that before the epoch, or is not
    finite; where none has, the one that grew most.

    >>> import jax, sam_jax as sj
    >>> data = sj.inputs.place(sj.load("digits"))
    >>> fixed = (sj.sgd.functions, sj.sgd((64, 10)), sj.losses.cross_entropy)
    >>> protocol = sj.training.Protocol(*fixed, 64, epochs=1, warmup_epochs=0)
    >>> numbers = sj.sgd.settle({"rate_w": 1e9})
    >>> *_, (epoch, runs, _) = sj.training.train(protocol, numbers, data, [0])
    >>> run = jax.tree.map(lambda leaf: leaf[0], runs)
    >>> sj.training.first_to_diverge(protocol, numbers, data, run, epoch)
    (1, 'w')

    Args:
      protocol: of the run.
      numbers: of the run.
      data: of the run.
      run: as it was kept, one run: no leaf has a leading axis.
      until: the epoch after which it was found to have diverged.
    """
    names = [pathway for pathway in PATHWAYS if getattr(run.synapses, pathway)]
    numbers = {name: jnp.asarray(number, float) for name, number in numbers.items()}

    def norms(synapses):
        return [jnp.stack([jnp.linalg.norm(matrix) for matrix in getattr(synapses, name)]) for name in names]

    @functools.partial(jax.jit, static_argnums=0)
    def again(protocol, numbers, data, run, epoch):
        before = norms(run.synapses)

        def growth(synapses):
            pairs = zip(norms(synapses), before, strict=True)
            return jnp.stack([jnp.where(old > 0, now / old, 0 * now).max() for now, old in pairs])

        return train_epoch(protocol, numbers, data, run, epoch, growth)

    for epoch in range(int(run.epoch) + 1, until + 1):
        after, peak, growth = again(_program(protocol, epoch - 1), numbers, data, run, epoch)
        if epoch == until or not peak <= DIVERGED_AT * run.initial_loss:
            break
        run = after
    grown = np.nan_to_num(np.asarray(growth), nan=np.inf)  # [steps, pathways]
    past = (grown >= GROWN).any(axis=1)
    row = grown[past.argmax()] if past.any() else grown.max(axis=0)
    return epoch, names[int(row.argmax())]


@functools.partial(jax.jit, static_argnums=(0, 1))
def start_runs(protocol: Protocol, placed: devices.Layout, numbers: Mapping, data: Data, keys: jax.Array):
    """`start` for all runs: every leaf of `numbers`, and `keys`, has a leading axis of them. Compiled.

    >>> import jax, jax.numpy as jnp, sam_jax as sj
    >>> from sam_jax import devices
    >>> data = sj.inputs.place(sj.load("digits"))
    >>> protocol = sj.training.Protocol(sj.sgd.functions, sj.sgd((64, 10)), sj.losses.cross_entropy, 64, epochs=2)
    >>> numbers, keys = {"rate_w": jnp.array([0.1, 0.2])}, jax.random.split(jax.random.key(0))
    >>> runs, metrics = sj.training.start_runs(protocol, devices.Layout(1, 2), numbers, data, keys)
    >>> runs.synapses.w[0].shape, metrics["test"].accuracy.shape
    ((2, 10, 64), (2,))
    """
    begin = devices.over_runs(lambda data, key, one: start(protocol, one, data, key), placed)
    return begin(data, keys, numbers)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=4)
def advance_runs(protocol: Protocol, placed: devices.Layout, numbers: Mapping, data: Data, runs: Run, epochs):
    """`advance` for all runs, which are donated. Compiled.

    >>> import jax, jax.numpy as jnp, sam_jax as sj
    >>> from sam_jax import devices
    >>> data, placed = sj.inputs.place(sj.load("digits")), devices.Layout(1, 2)
    >>> protocol = sj.training.Protocol(sj.sgd.functions, sj.sgd((64, 10)), sj.losses.cross_entropy, 64, epochs=2)
    >>> numbers, keys = {"rate_w": jnp.array([0.1, 0.0])}, jax.random.split(jax.random.key(0))
    >>> runs, before = sj.training.start_runs(protocol, placed, numbers, data, keys)
    >>> runs, after = sj.training.advance_runs(protocol, placed, numbers, data, runs, jnp.array([1]))
    >>> (after["train"].loss < before["train"].loss).tolist()  # nothing is learned at a rate of 0
    [True, False]
    """

    def some_epochs(shared, key, one):
        data, epochs = shared
        numbers, run = one
        return advance(protocol, numbers, data, run._replace(key=key), epochs)

    return devices.over_runs(some_epochs, placed)((data, epochs), runs.key, (numbers, runs._replace(key=())))


def _program(protocol: Protocol, epoch: int) -> Protocol:
    """The protocol of the epochs that follow: its interventions have all begun."""
    begun = interventions.begun(protocol.interventions, epoch)
    return protocol._replace(interventions=tuple(i._replace(epoch=0) for i in begun), evaluate_every=1)


def stops(protocol: Protocol) -> list[int]:
    """The epochs at which a run comes back to the host: 0, each evaluation, each intervention, the last.

    >>> import sam_jax as sj
    >>> protocol = sj.training.Protocol(
    ...     sj.sgd.functions, sj.sgd((64, 10)), sj.losses.cross_entropy, 64, epochs=5, evaluate_every=2
    ... )
    >>> sj.training.stops(protocol)
    [0, 2, 4, 5]
    """
    evaluations = range(0, protocol.epochs, protocol.evaluate_every)
    begins = [i.epoch for i in protocol.interventions if i.epoch < protocol.epochs]
    return sorted({*evaluations, *begins, protocol.epochs})


def train(
    protocol: Protocol,
    numbers: Mapping,
    data: Data,
    seeds: Sequence[int],
    resumed: tuple[int, Run] | None = None,
) -> Iterator[tuple[int, Run, dict[str, Metrics]]]:
    """Trains a run for each seed at once; yields (epoch, runs, metrics by split) at epoch 0 and each evaluation.

    Whole runs are shared out over the devices of this process (`devices.py`).

    Args:
      protocol: what is fixed.
      numbers: a rule's numbers by name, as `Rule.settle` gives them; each is one number for all runs, or
        has a leading axis of R.
      data: as `inputs.place` made it; the splits in it are evaluated.
      seeds: R seeds; a seed's run is the same whichever others run beside it.
      resumed: (epoch, runs) as they were yielded, keys aside, to go on after that epoch, which is not yielded
        again: the runs then end in the bits of runs that were never interrupted.

    Every leaf that is yielded has a leading axis of R. The runs are donated to the next epochs: copy
    what is to be kept.

    Raises:
      ValueError: the batch is larger than the training split, there is no seed, or an intervention does not fit the
        circuit.

    >>> import sam_jax as sj
    >>> data = sj.inputs.place(sj.load("digits"))
    >>> protocol = sj.training.Protocol(sj.sgd.functions, sj.sgd((64, 10)), sj.losses.cross_entropy, 64, epochs=2)
    >>> for epoch, runs, metrics in sj.training.train(protocol, sj.sgd.settle(), data, seeds=[0, 1, 2]):
    ...     print(epoch, metrics["test"].accuracy.shape)
    0 (3,)
    1 (3,)
    2 (3,)
    """
    if not len(seeds):
        raise ValueError("seeds is empty, expected a seed for each run, as in seeds=[0, 1, 2]")
    examples = len(data.splits["train"].images)
    if protocol.batch_size > examples:
        raise ValueError(f"batch_size is {protocol.batch_size}, expected at most the {examples} training images")
    count, placed = len(seeds), devices.layout(list(seeds), jax.local_device_count())
    shapes = jax.eval_shape(
        lambda: protocol.rule.init(protocol.circuit, jax.random.key(0), dict.fromkeys(numbers, 1.0))
    )
    interventions.check(protocol.interventions, shapes.synapses)
    each = {name: jnp.broadcast_to(jnp.asarray(number, float), (count,)) for name, number in numbers.items()}
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    each, keys = jax.tree.map(lambda leaf: devices.padded(leaf, placed), (each, keys))
    data = devices.everywhere(data, placed)

    if resumed is None:
        last = 0
        runs, metrics = start_runs(_program(protocol, -1), placed, each, data, keys)
        yield 0, *devices.without_padding((runs, metrics), count, placed)
    else:
        last, runs = resumed
        runs = jax.tree.map(lambda leaf: devices.padded(jnp.array(leaf), placed), runs._replace(key=()))
        runs = runs._replace(key=keys)
    for epoch, until in itertools.pairwise(stops(protocol)):
        if epoch < last:
            continue
        program = _program(protocol, epoch)
        runs = runs._replace(synapses=interventions.silenced(program.interventions, runs.synapses))
        runs, metrics = advance_runs(program, placed, each, data, runs, jnp.arange(epoch + 1, until + 1))
        yield until, *devices.without_padding((runs, metrics), count, placed)
