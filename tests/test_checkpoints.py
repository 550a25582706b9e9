"""A run that was stopped goes on where it was and ends in the bits of one that was not; and it stops when asked."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import official_files as files
import pytest
from stepping import some

import sam_jax as sj
from sam_jax import inputs, lab, training
from sam_jax.lab import checkpoints, interruption, records

TRACED = f"{pathlib.Path(__file__).parent.parent / 'examples' / 'eligibility_trace.py'}:traced"
EPOCHS = 4


class Broken(Exception):
    """What stops a run from outside."""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(folder, stop_at=...)` runs a rule on one's own images; returns its folder and the epochs resumed from."""
    splits = [files.examples(n, (2, 2, 1), 2, place) for place, n in enumerate((24, 6, 6))]
    files.write_npz(tmp_path / "mine.npz", splits[0], splits[2], splits[1])
    plain, saves = training.train, checkpoints.save

    def start(folder, rule="sgd", stop_at=None, how=None, **given):
        begun = []

        def spy(protocol, numbers, data, seeds, resumed):
            begun.append((tuple(seeds), resumed[0] if resumed else None))
            return plain(protocol, numbers, data, seeds, resumed)

        def save(folder, job, seeds, epoch, runs):
            saves(folder, job, seeds, epoch, runs)
            if epoch == stop_at:
                how()

        monkeypatch.setattr(training, "train", spy)
        monkeypatch.setattr(checkpoints, "save", save)
        experiment = lab.Experiment("mine", lambda options, dataset: {}, lambda results: None, rules=("sgd",))
        given = {"seeds": 2, "epochs": EPOCHS, "batch_size": 12, "hidden_widths": 3, "checkpoint_every": 0} | given
        given |= {"dataset": tmp_path / "mine.npz", "out_dir": tmp_path / folder, "rules": rule}
        flags = [f"--{name}={value}" for name, value in given.items()]
        lab.main(experiment, ["mine.py", "--save_synapses", *flags])
        return tmp_path / folder, begun

    return start


def broken():
    raise Broken


def measured(folder):
    rows = [row | {"seconds": None} for row in records.read(folder)[1]]
    return sorted(rows, key=lambda row: (*records.run_of(row), row["epoch"]))


def same_bits(one, two):
    """Rows and trained circuits."""
    assert measured(one) == measured(two)
    names = sorted(path.name for path in one.glob("*.msgpack"))
    assert names and names == sorted(path.name for path in two.glob("*.msgpack"))
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes()


CASES = [("sam", {"momentum": 0.9}), ("sgd", {}), ("wm", {}), (TRACED, {}), ("brsf", {})]


@pytest.mark.parametrize("late", some([False, True], [False]))
def test_a_run_that_ends_beside_the_keeping_of_its_synapses_is_ended_by_the_same_command(run, monkeypatch, late):
    """Its last rows say that it is finished, so they come after."""
    module = sys.modules["sam_jax.lab.run"]
    plain = module.save

    def ends(*given):
        if late:
            plain(*given)
        raise Broken

    whole, _ = run("whole")
    with monkeypatch.context() as once:
        once.setattr(module, "save", ends)
        with pytest.raises(Broken):
            run("out")
    again, begun = run("out")
    assert begun == [((0, 1), EPOCHS - 1)]
    same_bits(whole, again)


@pytest.mark.parametrize("case", some(CASES, CASES[:1]), ids=lambda case: case[0].rsplit(":", 1)[-1])
def test_a_run_that_was_stopped_ends_in_the_bits_of_one_that_was_not(case, run):
    """Synapses, memory, momentum, schedule and the streams of random numbers go on together."""
    rule, given = case
    whole, _ = run("whole", rule, **given)
    with pytest.raises(Broken):
        run("parts", rule, stop_at=2, how=broken, **given)
    parts, begun = run("parts", rule, **given)
    assert begun == [((0, 1), 2)]
    same_bits(whole, parts)
    assert not (parts / checkpoints.FOLDER).exists()


@pytest.mark.slow
def test_more_seeds_begin_beside_those_that_go_on(run):
    whole, _ = run("whole", seeds=3)
    with pytest.raises(Broken):
        run("parts", stop_at=3, how=broken)
    parts, begun = run("parts", seeds=3)
    assert begun == [((0, 1), 3), ((2,), None)]
    assert measured(whole) == measured(parts)


@pytest.mark.slow
def test_runs_that_are_not_asked_for_keep_their_checkpoint(run):
    with pytest.raises(Broken):
        run("parts", "sgd,fa", stop_at=3, how=broken)
    _, begun = run("parts", "fa")
    assert begun == [((0, 1), None)]
    _, begun = run("parts", "sgd,fa")
    assert begun == [((0, 1), 3)]


def test_a_checkpoint_that_is_further_than_the_rows_is_not_read(run):
    whole, _ = run("whole")
    with pytest.raises(Broken):
        run("parts", stop_at=2, how=broken)
    metrics = whole.parent / "parts" / records.METRICS
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))
    parts, begun = run("parts")
    assert begun == [((0, 1), None)]
    same_bits(whole, parts)


@pytest.mark.slow
def test_a_checkpoint_that_was_cut_short_is_not_read(run, tmp_path):
    """An interruption while one is written leaves a folder that orbax has not marked as whole."""
    with pytest.raises(Broken):
        run("parts", stop_at=1, how=broken)
    folder = next((tmp_path / "parts" / checkpoints.FOLDER).glob("*/*"))
    folder.rename(folder.with_name(f"{folder.name}.orbax-checkpoint-tmp"))
    _, begun = run("parts")
    assert begun == [((0, 1), None)]


@pytest.mark.slow
def test_another_setting_is_refused_and_the_checkpoint_stays(run):
    with pytest.raises(Broken):
        run("parts", stop_at=2, how=broken)
    with pytest.raises(SystemExit, match=r"protocol.epochs is 4, now 5"):
        run("parts", epochs=5)
    _, begun = run("parts")
    assert begun == [((0, 1), 2)]


@pytest.mark.slow
def test_a_long_interval_saves_nothing(run):
    folder, _ = run("out", checkpoint_every=60, stop_at=2, how=broken)
    assert not (folder / checkpoints.FOLDER).exists()


@pytest.fixture
def ctrl_c():
    """Python's own handler, which a process that was started in the background has not; sets another one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", some([signal.SIGINT, signal.SIGTERM], [signal.SIGTERM]))
def test_a_signal_ends_the_epoch_saves_and_says_how_to_go_on(number, run, capsys, monkeypatch, ctrl_c):
    """The interval is long: what is saved is saved because of the signal."""
    handlers = [signal.getsignal(number) for number in interruption.SIGNALS]
    whole, _ = run("whole")
    probed, measure = [], jax.device_get

    def get(tree):
        probed.append(None)
        if len(probed) == 3:
            os.kill(os.getpid(), number)
            time.sleep(0.3)  # for the thread that listens
        return measure(tree)

    monkeypatch.setattr(jax, "device_get", get)
    with pytest.raises(SystemExit) as ended:
        run("parts", checkpoint_every=60)
    monkeypatch.undo()
    assert ended.value.code == 128 + number
    text = capsys.readouterr().err
    assert "finishing what is being trained, then saving; once more stops at once" in text
    assert "interrupted; what is done is in" in text and "goes on" in text
    assert handlers == [signal.getsignal(number) for number in interruption.SIGNALS]
    parts, begun = run("parts")
    assert begun[0][1] is not None
    same_bits(whole, parts)


def test_a_signal_that_is_ignored_stays_ignored(ctrl_c):
    """As Ctrl-C is in what a shell has put into the background."""
    ctrl_c(signal.SIG_IGN)
    with interruption.asked() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        while stop.signal is None:
            time.sleep(0.01)
    assert stop.signal == signal.SIGTERM and signal.getsignal(signal.SIGINT) == signal.SIG_IGN


@pytest.mark.slow
def test_a_second_signal_stops_at_once(tmp_path, ctrl_c):
    """While a compiled program runs that ends in minutes: an epoch of many seeds."""
    script = pathlib.Path(__file__).parent.parent / "experiments" / "table1.py"
    long = ("--rules=sam", "--seeds=8", "--epochs=2000", "--evaluate_every=2000", "--out_dir=out")
    with open(tmp_path / "err", "w") as err:
        process = subprocess.Popen([sys.executable, script, *long], cwd=tmp_path, stderr=err)
    rows = tmp_path / "out" / records.METRICS
    while not (rows.is_file() and rows.read_text()):
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(timeout=60) == 130 and time.monotonic() - began < 5
    assert "Traceback" not in (tmp_path / "err").read_text()


def test_runs_resumed_in_the_library_are_those_that_were_not_interrupted():
    circuit = sj.RULES["sam"]((4, 3, 2))
    protocol = training.Protocol(sj.RULES["sam"].functions, circuit, sj.losses.cross_entropy, 8, 3)
    random = np.random.default_rng(0)
    split = inputs.Split(random.integers(256, size=(16, 4), dtype=np.uint8), (np.arange(16) % 2).astype(np.int32))
    data = inputs.Data({"train": split}, np.full((1, 4), 128, np.float32), np.float32(70.0))
    numbers = sj.RULES["sam"].settle()
    states = {e: jax.device_get(r._replace(key=())) for e, r, _ in training.train(protocol, numbers, data, [3, 5])}
    again = training.train(protocol, numbers, data, [3, 5], (1, states[1]))
    for epoch, runs, _ in again:
        for a, b in zip(jax.tree.leaves(runs._replace(key=())), jax.tree.leaves(states[epoch]), strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
