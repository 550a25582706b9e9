"""Training in a notebook, and trained circuits: to be asked, saved, and had back by one call.

data = sj.load("digits")
net = sj.train(sj.sam, (64, 100, 10), data, seeds=range(5), epochs=20)
net.accuracy["test"], net.predict(data.test.images)
sj.save("sam.msgpack", net);  net = sj.restore("sam.msgpack")
"""

import contextlib
import dataclasses
import functools
import operator
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax

from sam_jax import inputs, losses, training
from sam_jax.circuit import Activity, Circuit, State, Synapses
from sam_jax.rule import Rule
from sam_jax.rules import RULES

if TYPE_CHECKING:
    from sam_jax.data.datasets import Dataset

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Trained:
    """R trained circuits of one rule, a seed each.

    Attributes:
      rule: the rule; its `forward` answers.
      circuit: the circuit.
      loss: one of losses.LOSSES' values; its scores are the answers.
      synapses, memory: what was learned, with a leading axis of R.
      mean, std: the training images' mean image [1, P] and pixel standard deviation [], in pixel units.
      seeds: R seeds.
      diverged: [R], whether a run was lost; it is then as it was before the epoch in which it diverged.
      history: a dict for each evaluation: `epoch`, and `train_loss`, `test_accuracy`, ... each [R].

    >>> import sam_jax as sj
    >>> digits = sj.load("digits")
    >>> net = sj.train("sgd", (64, 10), digits, epochs=1)
    >>> net.accuracy["test"].shape, net.scores(digits.test.images).shape, net.predict(digits.test.images).shape
    ((1,), (1, 359, 10), (1, 359))
    """

    rule: Rule
    circuit: Circuit
    loss: losses.Loss
    synapses: Synapses
    memory: Any
    mean: np.ndarray
    std: np.ndarray
    seeds: tuple[int, ...]
    diverged: np.ndarray
    history: tuple[dict, ...] = ()

    @property
    def accuracy(self) -> dict[str, np.ndarray]:
        """The last accuracies, 0 to 1, by split, each [R]; NaN for a run that diverged."""
        last = self.history[-1] if self.history else {}
        found = {name.removesuffix("_accuracy"): value for name, value in last.items() if name.endswith("_accuracy")}
        return {split: np.where(self.diverged, np.nan, value) for split, value in found.items()}

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Class scores [R, N, K] for uint8 images [N, H, W, C], [N, H, W] or [N, P].

        Raises:
          ValueError: the images are not uint8, or not of the circuit's number of pixels.
        """
        images = np.asarray(images)
        pixels, rows = self.circuit.widths[0], images.reshape(len(images), -1)
        if images.dtype != np.uint8 or rows.shape[1] != pixels:
            raise ValueError(
                f"images are {images.dtype} {images.shape}, expected uint8 [N, ...] with {pixels} pixels each"
            )
        data = inputs.Data({}, jnp.asarray(self.mean, float), jnp.asarray(self.std, float))
        return np.asarray(_scores(self.rule.functions, self.circuit, self.loss, data, self.synapses, self.memory, rows))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Classes [R, N]; for several labels an image, 0 or 1 [R, N, K]. Images and errors as in `scores`."""
        scores = self.scores(images)
        several = self.loss.name == "sigmoid_cross_entropy"
        return (scores > 0.5).astype(np.uint8) if several else scores.argmax(axis=-1)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _scores(rule, circuit, loss, data, synapses, memory, images):
    def one(run):
        synapses, memory = run
        return loss.scores(training.answer(rule, circuit, State(synapses, Activity(), memory), data, images))

    return jax.lax.map(one, (synapses, memory))


def train(
    rule: Rule | str,
    widths: Sequence[int],
    data: "Dataset",
    *,
    seeds: Sequence[int] = (0,),
    epochs: int = 20,
    numbers: Mapping[str, float] | None = None,
    optimizer: optax.GradientTransformation | None = None,
    loss: losses.Loss | str | None = None,
    batch_size: int = 256,
    on_epoch: Callable[[dict], None] | None = None,
    downstream_widths: Sequence[int] = (),
    activation: str | Callable | None = None,
    **protocol: Any,
) -> Trained:
    """Trains a rule's circuit on a data set, every seed at once.

    Args:
      rule: a Rule, or the name of one of RULES.
      widths: d_1..d_L; the first is the data's pixels, the last its classes.
      data: as `sj.load` gives it.
      seeds: a run for each; the same seed gives the same run whatever runs beside it.
      epochs: passes over the training split.
      numbers: rate_w, decay, momentum, clip_norm, ... in place of the rule's own.
      optimizer: any optax optimizer, in place of the rule's rates, decay and schedule.
      loss: one of losses.LOSSES or its name; by default cross_entropy, or sigmoid_cross_entropy for
        several labels an image.
      batch_size: examples in a batch.
      on_epoch: called with each entry of `history` as it comes.
      downstream_widths: field of `Circuit`.
      activation: field of `Circuit`.
      **protocol: further fields of `training.Protocol`: schedule, warmup_epochs, evaluate_every, ...

    Raises:
      ValueError: the widths do not fit the data, or a number, name or setting is unknown.

    >>> import sam_jax as sj
    >>> net = sj.train("sgd", (64, 30, 10), sj.load("digits"), epochs=3, batch_size=64)
    >>> bool(net.accuracy["test"][0] > 0.5)
    True
    """
    known: Rule = _named(rule, RULES, "rule")
    chosen: losses.Loss = _named(
        loss or ("sigmoid_cross_entropy" if data.task == "multi-label" else "cross_entropy"), losses.LOSSES, "loss"
    )
    if (widths[0], widths[-1]) != (data.pixels, data.classes):
        raise ValueError(
            f"widths is {tuple(widths)}, expected {data.pixels} first and {data.classes} last: "
            f"the pixels and the classes of {data.name}"
        )
    free = set(training.Protocol._fields) - {"rule", "circuit", "loss", "batch_size", "epochs", "optimizer"}
    if unknown := set(protocol) - free:
        raise ValueError(f"train takes no {min(unknown)!r}, expected some of {', '.join(sorted(free))}")
    settings = {} if activation is None else {"activation": activation}
    circuit = known(tuple(widths), tuple(downstream_widths), **settings)
    fixed = training.Protocol(known.functions, circuit, chosen, batch_size, epochs, optimizer=optimizer, **protocol)
    placed = inputs.place(data)
    history = []
    for epoch, runs, metrics in training.train(fixed, known.settle(numbers or {}), placed, list(seeds)):
        entry: dict = {"epoch": epoch}
        for split, measured in jax.device_get(metrics).items():
            entry[f"{split}_loss"], entry[f"{split}_accuracy"] = measured.loss, measured.accuracy
        history.append(entry)
        final = runs
        if on_epoch is not None:
            on_epoch(entry)
    kept = jax.device_get((final.synapses, final.memory, placed.mean, placed.std))
    diverged = np.asarray(final.diverged)
    synapses, memory, mean, std = kept
    return Trained(known, circuit, chosen, synapses, memory, mean, std, tuple(seeds), diverged, tuple(history))


def _named(given, known: Mapping, what: str):
    if not isinstance(given, str):
        return given
    if given not in known:
        raise ValueError(f"{what} {given!r} is unknown, expected one of {', '.join(known)}")
    return known[given]


def save(path: str | pathlib.Path, trained: Trained) -> None:
    """Writes trained circuits as flax's msgpack, whole or not at all, with all that prediction needs.

    A rule or an activation of one's own is saved by its name alone: `restore` must be given it again.

    Raises:
      OSError: the file cannot be written; one that is there then stays as it was.

    >>> import pathlib, tempfile, sam_jax as sj
    >>> net = sj.train("sgd", (64, 10), sj.load("digits"), epochs=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sj.save(pathlib.Path(folder, "net.msgpack"), net)
    ...     [path.name for path in pathlib.Path(folder).iterdir()]
    ['net.msgpack']
    """
    circuit = dataclasses.asdict(trained.circuit)
    if callable(circuit["activation"]):
        circuit["activation"] = f"own:{getattr(trained.circuit.activation, '__name__', 'activation')}"
    content = {
        "format": FORMAT,
        "rule": trained.rule.name,
        "circuit": {k: list(v) if isinstance(v, tuple) else v for k, v in circuit.items()},
        "loss": trained.loss.name,
        "seeds": list(trained.seeds),
        "diverged": np.asarray(trained.diverged),
        "mean": trained.mean,
        "std": np.asarray(trained.std),
        "synapses": flax.serialization.to_state_dict(trained.synapses),
        "memory": flax.serialization.to_state_dict(trained.memory),
    }
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(flax.serialization.msgpack_serialize(content))
    partial.replace(path)


def restore(path: str | pathlib.Path, rule: Rule | None = None, activation: Callable | None = None) -> Trained:
    """The trained circuits that `save` wrote; without their history.

    Args:
      path: the file.
      rule: the rule that trained them, where it is none of sam_jax's.
      activation: the circuit's activation, where it is a function of one's own.

    Raises:
      ValueError: the file holds no trained circuits, or those of another rule, or a rule or activation is
        missing.

    >>> import pathlib, tempfile, sam_jax as sj
    >>> digits = sj.load("digits")
    >>> net = sj.train("sgd", (64, 10), digits, epochs=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sj.save(pathlib.Path(folder, "net.msgpack"), net)
    ...     same = sj.restore(pathlib.Path(folder, "net.msgpack"))
    >>> bool((same.predict(digits.test.images) == net.predict(digits.test.images)).all())
    True
    """
    path = pathlib.Path(path)
    content = _content(path)
    name, fields, version = content["rule"], content["circuit"], content["format"]
    if version != FORMAT:
        raise ValueError(f"{path} is of format {version}, expected {FORMAT}: it was saved by another sam_jax")
    if rule is not None and rule.name != name:
        raise ValueError(f"{path} was trained by the rule {name!r}, not by {rule.name}")
    rule = rule or RULES.get(name)
    if rule is None:
        raise ValueError(
            f"{path} was trained by {name!r}, which is none of sam_jax's rules: restore({str(path)!r}, rule=...)"
        )
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    if str(fields.get("activation")).startswith("own:"):
        if activation is None:
            own = fields["activation"].removeprefix("own:")
            raise ValueError(f"{path} was trained with the activation {own}: restore({str(path)!r}, activation={own})")
        fields["activation"] = activation
    with _holding(path):
        circuit = Circuit(**fields)
        loss, seeds = losses.LOSSES[content["loss"]], tuple(map(operator.index, content["seeds"]))
        stored = len(content["synapses"]["w"])
        if stored != len(circuit.widths) - 1:  # before a circuit of that many layers is traced
            raise ValueError(f"{stored} matrices W, expected {len(circuit.widths) - 1}")
        start = jax.eval_shape(lambda: rule.init(circuit, jax.random.key(0), rule.settle()))
        given = {name: content[name] for name in ("mean", "std", "diverged")}
        for part, template in (("synapses", start.synapses), ("memory", start.memory)):
            given[part] = flax.serialization.from_state_dict(template, content[part])
        runs, real = (len(seeds),), np.dtype(float)
        expected = {
            "mean": jax.ShapeDtypeStruct((1, circuit.widths[0]), real),
            "std": jax.ShapeDtypeStruct((), real),
            "diverged": jax.ShapeDtypeStruct(runs, np.dtype(bool)),
        }
        for part, template in (("synapses", start.synapses), ("memory", start.memory)):
            expected[part] = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(runs + leaf.shape, leaf.dtype), template)
        jax.tree.map(_check_array, expected, given)
    return Trained(rule, circuit, loss, seeds=seeds, **given)


def _content(path: pathlib.Path) -> dict:
    """What the file holds, with all that `save` writes."""
    with _holding(path):
        content = flax.serialization.msgpack_restore(path.read_bytes())
        for name, kind in {"format": int, "rule": str, "circuit": dict, "loss": str, "seeds": list}.items():
            if not isinstance(content[name], kind):
                raise ValueError(f"{name} is {type(content[name]).__name__}, expected {kind.__name__}")
    return content


@contextlib.contextmanager
def _holding(path: pathlib.Path) -> Iterator[None]:
    """One line for what a file that is none of `save`'s ends in, wherever that is."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{path} holds no trained circuits: {what}") from error


def _check_array(template, array) -> None:
    if array.shape != template.shape or array.dtype.kind != template.dtype.kind:
        raise ValueError(f"an array {array.dtype} {array.shape}, expected {template.dtype} {template.shape}")
