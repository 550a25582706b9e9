"""The training loop: what a run is, what it does not depend on, and what it counts."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from stepping import some

import sam_jax as sj
from sam_jax import inputs, interventions, losses, training
from sam_jax.data import datasets


def images(examples=1003, side=3, classes=4, seed=0):
    """A data set of noise in which the class shifts some pixels."""
    random = np.random.default_rng(seed)

    def split(n):
        labels = random.integers(classes, size=n).astype(np.int32)
        pixels = random.integers(0, 160, size=(n, side, side, 1)) + 20 * labels[:, None, None, None]
        return datasets.Split(pixels.astype(np.uint8), labels)

    return SimpleNamespace(train=split(examples), val=split(101), test=split(1001))


def protocol(rule="sgd", hidden=(7, 6), **fields):
    rule = sj.RULES[rule]
    fields = {"batch_size": 100, "epochs": 2, "warmup_epochs": 0.0} | fields
    return training.Protocol(rule.functions, rule((9, *hidden, 4)), losses.cross_entropy, **fields)


def numbers(rule="sgd", **given):
    """The rule's own, those given in their place; given arrays have an entry for each run."""
    return sj.RULES[rule].settle(given)


def last(protocol, numbers, data, seeds):
    """The final runs and metrics, on the host."""
    *_, (_, runs, metrics) = training.train(protocol, numbers, data, seeds)
    return runs, jax.device_get(metrics)


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("rule", some(sj.RULES, ("sam",)))
def test_a_seeds_run_does_not_depend_on_its_neighbours(rule):
    data = inputs.place(images())
    runs, _ = last(protocol(rule), numbers(rule), data, [5, 0, 3])
    alone, _ = last(protocol(rule), numbers(rule), data, [3])
    again, _ = last(protocol(rule), numbers(rule), data, [3])
    third = jax.tree.map(lambda leaf: leaf[2:], runs.synapses)
    assert same(third, alone.synapses) and same(alone.synapses, again.synapses)
    assert not same(jax.tree.map(lambda leaf: leaf[:1], runs.synapses), alone.synapses)


def test_evaluation_counts_every_example_once():
    """1001 and 1003 examples leave an incomplete last batch of EVALUATION_BATCH; nothing is lost."""
    dataset = images()
    data = inputs.place(dataset)
    state = sj.init(protocol().circuit, jax.random.key(1))
    for split in ("train", "val", "test"):
        metrics = training.evaluate(protocol(auc=True), data, state.synapses, (), split)
        pixels, labels = getattr(dataset, split)
        x = pixels.reshape(len(pixels), -1).astype(np.float64)
        x = (x - np.asarray(data.mean)) / float(data.std)
        for w in state.synapses.w[:-1]:
            x = np.maximum(x @ np.asarray(w).T, 0)
        y_hat = x @ np.asarray(state.synapses.w[-1]).T
        probability = np.exp(y_hat) / np.exp(y_hat).sum(axis=1, keepdims=True)
        right = int((y_hat.argmax(axis=1) == labels).sum())
        assert round(float(metrics.accuracy) * len(labels)) == right
        assert metrics.scores.shape == (len(labels), 4)
        expected = -np.log(probability[np.arange(len(labels)), labels]).mean()
        np.testing.assert_allclose(metrics.loss, expected, rtol=1e-5)


def test_standardised_training_images_have_zero_mean_and_unit_variance():
    dataset = images()
    data = inputs.place(dataset)
    assert data.splits["train"].images.dtype == jnp.uint8
    x = np.asarray(inputs.standardise(data, data.splits["train"].images), np.float64)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.square(x).mean(), 1, rtol=1e-5)


def test_a_pixel_that_never_varies_stays_finite():
    dataset = images()
    dataset.train.images[:] = 255
    data = inputs.place(dataset)
    assert np.isfinite(inputs.standardise(data, data.splits["test"].images)).all()


def test_one_full_batch_epoch_is_one_gradient_step():
    """With B = N the permutation does not matter: W moves by -η ∇F, by autodiff."""
    data = inputs.place(images(200))
    fixed = protocol(batch_size=200, epochs=1, schedule="constant")
    (_, before, _), (_, after, _) = (
        (epoch, jax.tree.map(jnp.copy, runs.synapses), m)
        for epoch, runs, m in training.train(fixed, numbers(rate_w=0.3, decay=0.0), data, [4])
    )
    train = data.splits["train"]

    def mean_loss(w):
        state = sj.forward(fixed.circuit, sj.State(sj.Synapses(w)), inputs.standardise(data, train.images))
        return losses.cross_entropy.value(state.activity.h[-1], train.labels).mean()

    w = tuple(matrix[0] for matrix in before.w)
    for new, old, gradient in zip(after.w, w, jax.grad(mean_loss)(w), strict=True):
        np.testing.assert_allclose(new[0], old - 0.3 * gradient, rtol=1e-5, atol=1e-6)


def test_the_last_batch_of_an_epoch_is_what_is_left():
    """200 images in batches of 150: two gradient steps, the second on the 50 that the first left."""
    data = inputs.place(images(200))
    fixed = protocol(batch_size=150, epochs=1, schedule="constant", last_batch=True)
    own = numbers(rate_w=0.3, decay=0.0)
    (_, before, _), (_, after, _) = (
        (epoch, jax.tree.map(lambda leaf: leaf[0], jax.device_get(runs.synapses)), m)
        for epoch, runs, m in training.train(fixed, own, data, [4])
    )
    epoch_key = jax.random.fold_in(jax.random.key(4), 1)
    order = jax.random.permutation(jax.random.fold_in(epoch_key, 0), 200)
    train, w = data.splits["train"], before.w
    for batch in (order[:150], order[150:]):

        def mean_loss(w, batch=batch):
            x = inputs.standardise(data, train.images[batch])
            y_hat = sj.forward(fixed.circuit, sj.State(sj.Synapses(w)), x).activity.h[-1]
            return losses.cross_entropy.value(y_hat, train.labels[batch]).mean()

        w = jax.tree.map(lambda m, g: m - 0.3 * g, w, jax.grad(mean_loss)(w))
    for new, expected in zip(after.w, w, strict=True):
        np.testing.assert_allclose(new, expected, rtol=1e-5, atol=1e-6)


def test_the_schedule_is_a_linear_rise_and_a_cosine():
    """10 epochs of 5 steps, 2 of them warm-up: steps 0..9 rise by 1/11 each, steps 10..50 fall as a cosine."""
    fixed = protocol(epochs=10, warmup_epochs=2.0)
    optimizer = training.make_optimizer(fixed, numbers(rate_w=1.0, decay=0.0), 5)
    direction = sj.Synapses(w=(jnp.ones((1, 1)),))
    state = optimizer.init(direction)
    for step in range(51):
        updates, state = optimizer.update(direction, state, direction)
        cosine = 0.5 * (1 + np.cos(np.pi * max(step - 10, 0) / 40))
        expected = min(1, (step + 1) / 11) * cosine
        np.testing.assert_allclose(updates.w[0][0, 0], -expected, rtol=1e-5, atol=1e-6)


def test_a_run_that_diverges_is_frozen_and_its_neighbour_is_not_touched():
    data = inputs.place(images())
    both = numbers(rate_w=np.array([0.1, 1e6]), decay=0.0)
    diverged, kept = [], []
    for _, runs, _ in training.train(protocol(), both, data, [0, 1]):
        diverged.append(runs.diverged.tolist())
        kept.append(jax.device_get(runs.synapses.w))
    assert diverged == [[False, False], [False, True], [False, True]]
    for first, final in zip(kept[0], kept[-1], strict=True):
        assert np.array_equal(first[1], final[1]) and not np.array_equal(first[0], final[0])
    alone, _ = last(protocol(), numbers(rate_w=0.1, decay=0.0), data, [0])
    assert same(alone.synapses, jax.tree.map(lambda leaf: leaf[:1], runs.synapses))


def trace(protocol, numbers, data, seeds):
    """{epoch: (synapses, whether it diverged, metrics)} of everything that is yielded, on the host."""
    return {
        epoch: jax.device_get((runs.synapses, runs.diverged, metrics))
        for epoch, runs, metrics in training.train(protocol, numbers, data, seeds)
    }


@pytest.mark.parametrize("rule", some(sj.RULES, ("sam",)))
def test_rarer_evaluations_change_no_bit_of_a_run(rule):
    """Five epochs, looked at every 2: epochs 0, 2, 4 and the last, as in runs that are looked at in every epoch."""
    data = inputs.place(images(300))
    often = trace(protocol(rule, epochs=5, warmup_epochs=1.0), numbers(rule), data, [0, 1])
    seldom = trace(protocol(rule, epochs=5, warmup_epochs=1.0, evaluate_every=2), numbers(rule), data, [0, 1])
    assert list(often) == [0, 1, 2, 3, 4, 5] and list(seldom) == [0, 2, 4, 5]
    assert all(same(often[epoch], seldom[epoch]) for epoch in seldom)
    assert not same(often[4][0], often[5][0])


@pytest.mark.parametrize(("epochs", "every", "expected"), [(4, 2, [0, 2, 4]), (3, 7, [0, 3]), (1, 1, [0, 1])])
def test_the_last_epoch_is_always_evaluated_and_once(epochs, every, expected):
    fixed = protocol(epochs=epochs, evaluate_every=every)
    assert list(trace(fixed, numbers(), inputs.place(images(200)), [0])) == expected


def test_a_run_that_diverges_between_evaluations_is_frozen_before_the_epoch_in_which_it_did():
    """The second run's rate is harmless in the first epoch (warm-up from near 0) and not in the second."""
    data = inputs.place(images())
    both = numbers(rate_w=np.array([0.1, 300.0]), decay=0.0)
    linear = sj.sgd((9, 7, 6, 4), activation="linear")  # a relu's neurons would all die, and stay finite
    fixed = protocol(epochs=4, warmup_epochs=300.0)._replace(circuit=linear)
    often = trace(fixed, both, data, [0, 1])
    lost = [bool(diverged[1]) for _, diverged, _ in often.values()]
    assert not lost[1] and lost[-1]  # what the rate was chosen for
    seldom = trace(fixed._replace(evaluate_every=4), both, data, [0, 1])
    assert seldom[4][1].tolist() == [False, True]
    assert same(seldom[4][0], often[4][0])
    second = [jax.tree.map(lambda leaf: leaf[1], often[epoch][0]) for epoch in (lost.index(True) - 1, 4)]
    assert same(*second) and not same(often[0][0].w[0][1], second[0].w[0])


TOO_HIGH = {"w": 3e5, "w_bar": 3e6, "v": 1e10, "v_bar": 1e10}  # though warm-up makes it harmless in the first epoch
FINE = {"rate_w": 0.25, "rate_w_bar": 0.075, "rate_v": 0.5, "rate_v_bar": 1.0, "decay": 0.0}
SCALES = {"scale_w": 1.0, "scale_w_bar": 0.3, "scale_v": 1.0, "scale_v_bar": 1.2}


@pytest.mark.parametrize("pathway", some(TOO_HIGH, ("w_bar",)))
def test_a_diverged_run_tells_its_epoch_and_the_pathway_that_blew_up_first(pathway):
    """The only one whose rate is far too high, however seldom one looks."""
    data = inputs.place(images())
    given = numbers("sam", **FINE | SCALES | {f"rate_{pathway}": TOO_HIGH[pathway]})
    found = []
    for every in (1, 4):
        fixed = protocol("sam", epochs=4, warmup_epochs=3e4, evaluate_every=every)
        for epoch, runs, _ in training.train(fixed, given, data, [0]):
            if runs.diverged[0]:
                one = jax.tree.map(lambda leaf: leaf[0], runs)
                found.append((epoch, *training.first_to_diverge(fixed, given, data, one, epoch)))
                break
    (looked, epoch, first), (_, same_epoch, same_first) = found
    assert 1 < looked == epoch == same_epoch and first == same_first == pathway


def test_an_intervention_holds_when_a_diverged_epoch_is_gone_through_again():
    """V is silent, so that of two rates that are far too high only that of W matters."""
    data = inputs.place(images())
    given = numbers("sam", rate_v=1e7, rate_w=1e7, decay=0.0)
    fixed = protocol("sam", epochs=2)._replace(interventions=(interventions.Intervention("lesion", "v", 0),))
    *_, (epoch, runs, _) = training.train(fixed, given, data, [0])
    one = jax.tree.map(lambda leaf: leaf[0], runs)
    assert one.diverged and training.first_to_diverge(fixed, given, data, one, epoch) == (1, "w")


@pytest.mark.slow
def test_a_second_run_compiles_nothing_new():
    """Other seeds and other numbers are arguments of the same programs."""
    compilations = []

    def listen(event, duration, **_):
        if event.endswith("backend_compile_duration"):
            compilations.append(duration)

    data = inputs.place(images())
    last(protocol("sam"), numbers("sam"), data, [0, 1])
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        other = numbers("sam", decay=1e-3, rate_w=0.2, rate_v=0.1, scale_w=2.0)
        last(protocol("sam"), other, data, [7, 8])
        assert compilations == []
        last(protocol("sam", hidden=(8, 6)), other, data, [7, 8])
        assert compilations  # the listener does hear what is new
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.slow
@pytest.mark.parametrize("rule", sj.rules.TABLE1)
def test_every_rule_teaches_the_lower_layer_of_a_real_task(rule):
    """On scikit-learn's digits: well above chance, and far below the loss of the same run with W^1 sent no error.

    Twelve random features of 64 pixels leave a reader little to work with, so that what is
    gained is gained by the lower layer. With W̄ (or Wᵀ) cut, only the top W learns.
    """
    data, row = inputs.place(datasets.load("digits")), sj.RULES[rule]
    fixed = training.Protocol(row.functions, row((64, 12, 10)), losses.cross_entropy, batch_size=32, epochs=15)
    own = row.settle()
    _, learned = last(fixed, own, data, [0, 1])
    cut = fixed._replace(rule=sj.fa.functions, circuit=sj.fa((64, 12, 10)))
    only_top = {name: own[name] for name in ("rate_w", "decay", "scale_w")} | {"scale_w_bar": 0.0}
    _, held = last(cut, only_top, data, [0, 1])
    assert learned["test"].accuracy.min() > 0.8
    assert (learned["train"].loss < 0.8 * held["train"].loss).all()


def test_errors_are_one_line():
    data = inputs.place(images(50))
    with pytest.raises(ValueError, match="batch_size is 100, expected at most the 50 training images"):
        next(training.train(protocol(), numbers(), data, [0]))
    with pytest.raises(ValueError, match="schedule is 'linear', expected one of constant, cosine"):
        next(training.train(protocol(batch_size=5, schedule="linear"), numbers(), data, [0]))


def test_a_run_needs_a_seed_and_fields_that_a_protocol_has():
    data = sj.load("digits")
    with pytest.raises(ValueError, match="seeds is empty, expected a seed for each run"):
        sj.train("sgd", (64, 10), data, seeds=(), epochs=1)
    with pytest.raises(ValueError, match="train takes no 'warmup', expected some of"):
        sj.train("sgd", (64, 10), data, epochs=1, warmup=3)


def test_an_optimizer_of_ones_own_reads_none_of_the_numbers():
    data, given = sj.load("digits"), {"epochs": 1, "batch_size": 500, "optimizer": optax.adam(1e-3)}
    plain = sj.train("sgd", (64, 10), data, **given)
    other = sj.train("sgd", (64, 10), data, numbers={"momentum": 0.9, "momentum_kept": 0.0}, **given)
    np.testing.assert_array_equal(plain.synapses.w[0], other.synapses.w[0])
