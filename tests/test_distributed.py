"""Two processes over loopback, found as SLURM starts them: the rows and tables that one process makes."""

import csv
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import official_files as files
import pytest

from sam_jax.lab import records

SCRIPTS = pathlib.Path(__file__).parent.parent / "experiments"
TABLE1 = ("table1.py", "--dataset=mine.npz", "--rules=sgd,sam", "--seeds=3", "--batch_size=8", "--hidden_widths=3,4")


@pytest.fixture
def cwd(tmp_path):
    train, val, test = (files.examples(n, (2, 2, 1), 2, seed) for seed, n in enumerate((24, 6, 6)))
    files.write_npz(tmp_path / "mine.npz", train, test, val)
    return tmp_path


def start(cwd, *arguments):
    """The two processes of a job."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    job = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"}
    environment = os.environ | job | {"JAX_COORDINATOR_ADDRESS": address}
    script, *rest = arguments
    command = ["timeout", "-k", "5", "250", sys.executable, SCRIPTS / script, "--distributed", *rest]
    return [
        subprocess.Popen(
            command,
            cwd=cwd,
            env=environment | {"SLURM_PROCID": str(place)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for place in (0, 1)
    ]


def ended(processes):
    """Their (exit status, output, errors)."""
    found = [(*process.communicate(timeout=300),) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, found, strict=True)]


def alone(cwd, *arguments):
    script, *rest = arguments
    command = [sys.executable, SCRIPTS / script, *rest]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def timeless(folder):
    return [row | {"seconds": None} for row in records.read(folder)[1]]


def table(folder):
    """table.csv without its column of times."""
    with open(folder / "table.csv", newline="") as file:
        return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_two_processes_leave_the_table_that_one_leaves(cwd):
    flags = (*TABLE1, "--epochs=2", "--save_synapses")
    done = ended(start(cwd, *flags, "--out_dir=two"))
    assert [status for status, *_ in done] == [0, 0], done
    assert "Feedback Alignment" not in done[0][1] and "SAM − SGD" in done[0][1]
    assert all(line.startswith("[Gloo]") for line in done[1][1].splitlines())  # the first alone reports
    alone(cwd, *flags, "--out_dir=one")
    assert timeless(cwd / "two") == timeless(cwd / "one")
    assert table(cwd / "two") == table(cwd / "one")
    assert not list((cwd / "two").glob(records.PARTS))
    saved = {path.name for path in (cwd / "two").glob("*.msgpack")}
    assert saved == {
        f"mine_{rule}_{seeds}.msgpack" for rule in ("sgd", "sam") for seeds in ("seeds_0_2", "from_seed_1")
    }


@pytest.mark.slow
def test_two_processes_search_as_one_does(cwd):
    flags = ("search.py", "--dataset=mine.npz", "--rules=sgd,sam", "--trials=5", "--rungs=1,2", "--seeds=2")
    flags += ("--factors=0.5,1", "--factor_rungs=2", "--batch_size=8", "--hidden_widths=3,4")
    done = ended(start(cwd, *flags, "--out_dir=two"))
    assert [status for status, *_ in done] == [0, 0], done
    alone(cwd, *flags, "--out_dir=one")
    assert timeless(cwd / "two") == timeless(cwd / "one")


@pytest.mark.slow
def test_a_process_that_dies_loses_its_unfinished_rows_alone_and_a_restart_does_just_those(cwd):
    flags = (*TABLE1, "--epochs=400", "--out_dir=out")
    first, second = start(cwd, *flags)
    part, deadline = cwd / "out" / "metrics.1.jsonl", time.monotonic() + 120
    while not (part.is_file() and b'"epoch": 400' in part.read_bytes()):
        assert time.monotonic() < deadline and second.poll() is None
        time.sleep(0.05)
    for process in (first, second):
        os.killpg(process.pid, signal.SIGKILL)
    ended([first, second])
    before = records.finished(*records.read(cwd / "out"))
    assert 0 < len(before) < 6
    kept = {json.dumps(row) for row in records.read(cwd / "out")[1] if records.run_of(row) in before}
    done = ended(start(cwd, *flags))
    assert [status for status, *_ in done] == [0, 0], done
    rows = records.read(cwd / "out")[1]
    assert kept <= {json.dumps(row) for row in rows}  # their times too: they were not made again
    assert len(rows) == 6 * 401 and len(records.finished(*records.read(cwd / "out"))) == 6


@pytest.mark.slow
def test_what_is_missing_is_said_in_one_line(cwd):
    for flags, line in (
        (TABLE1, "--distributed needs --out_dir, one folder that all processes can write to"),
        ((*TABLE1, "--out_dir=out"), "--distributed found no processes to join"),
    ):
        script, *rest = flags
        command = [sys.executable, SCRIPTS / script, "--distributed", *rest]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1 and line in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert not (cwd / "out").exists()
