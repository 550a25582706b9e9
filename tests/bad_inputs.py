"""Commands and files that must be refused: a line of what was given, what was expected and how to mend it.

`python tests/bad_inputs.py` writes the table of all of them, each with the line that it gets: `bad_inputs.md`.
"""

import io
import pathlib
import sys
import zipfile
from unittest import mock

import commands
import numpy as np

from sam_jax import training

ROOT = pathlib.Path(__file__).parent.parent
TABLE = ROOT / "tests" / "bad_inputs.md"
NONSENSE = ("abc", "", "1e999", "nan", "-1", "1,2", "½", "1 2")

WHOLE = ("seeds", "epochs", "evaluate_every", "batch_size", "train_images")
REAL = ("warmup_epochs", "rate_factor", "checkpoint_every", "rate_w", "rate_v_bar", "decay", "momentum", "clip_norm")
CHOICES = ("schedule", "activation", "initial", "loss", "pixels", "precision", "recipe", "rules", "dataset", "gated")
TEXTS = ("swish", "SGD", "../sgd", "sgd;sam", "None", "*", "sgd,sgd ,", "q" * 300)
YES_OR_NO = ("tune", "configs", "last_batch", "train_on_val", "save_synapses", "decay_times_rate")
LISTS = ("hidden_widths", "downstream_widths")
WIDTHS = ("abc", "0", "-3", "1.5", "20,,20", "20;20", "1e3", "nan", "٣a", "20, 20,x", "½")
OWN = {
    "fig2_ablation.py": "linear_rate",
    "fig_s1b_stationarity.py": "constant_factor",
    "fig_s1d_overparametrization.py": "width",
    "fig_s2_printed.py": "cells",
    "gap.py": "factors",
    "predictions.py": "freeze",
    "search.py": "factors",
}


def flags() -> list[tuple[str, tuple[str, ...]]]:
    """(script, arguments): absurd values of every kind of flag, flags that contradict each other, and no flags."""
    found = [("table1.py", (f"--{name}={value}",)) for name in WHOLE for value in (*NONSENSE, "0", "1.5", "-7")]
    found += [
        ("table1.py", (f"--{name}={value}",)) for name in REAL for value in ("abc", "", "1e999", "nan", "-1", "1,2")
    ]
    found += [
        ("table1.py", (f"--{name}={value}",)) for name in CHOICES for value in TEXTS if (name, value) != ("recipe", "")
    ]
    found += [("table1.py", (f"--{name}={value}",)) for name in YES_OR_NO for value in ("maybe", "2", "ja")]
    found += [("table1.py", (f"--{name}={value}",)) for name in LISTS for value in WIDTHS]
    found += [("table1.py", (f"--{name}",)) for name in (*WHOLE, *REAL, *CHOICES, *LISTS)]
    found += [("table1.py", (text,)) for text in ("digits", "-", "--=3", "-x", "--no", "--seeds 3", "run", "?", "help")]
    found += [(script, (f"--{name}=nonsense",)) for script, name in OWN.items()]
    found += [
        (script, ("--no_such_flag=1",))
        for script in sorted(path.name for path in (ROOT / "experiments").glob("*.py"))
        if script not in ("paper.py", "ticks.py", "verdicts.py", "theory_report.py", "report.py")
    ]
    together = [
        ("--tune", "--train_on_val"),
        ("--rules=sgd,fa", "--downstream_widths=9,9,9"),
        ("--rules=sam", "--downstream_widths=9"),
        ("--rules=sgd", "--rate_v=1"),
        ("--rules=sgd,kp", "--trace=0.8"),
        ("--recipe=authors2025", "--rules=dfa"),
        ("--recipe=authors2025", "--tune"),
        ("--train_images=1296",),
        ("--train_images=20", "--batch_size=21"),
        ("--batch_size=1296",),
        ("--dataset=digits,digits2",),
        ("--dataset=all,nothing",),
        ("--hidden_widths=1000000,1000000,1000000",),
        ("--dataset=digits,chestmnist", "--loss=cross_entropy"),
        ("--distributed",),
        ("--remake=nowhere",),
        ("--remake=.",),
        ("--out_dir=/proc/nothing/here",),
        ("--out_dir=/dev/null",),
        ("--data_dir=/dev/null",),
        ("--rules=missing.py:rule",),
        ("--rules=.:rule",),
        ("--rules=missing.py",),
        ("--rules=:",),
        ("--flagfile=missing.cfg",),
    ]
    found += [("table1.py", arguments) for arguments in together]
    found += [
        ("predictions.py", ("--lesion=v@20",)),
        ("variants.py", ("--downstream_widths=9,9,9",)),
        ("variants.py", ("--train_on_val",)),
        ("variants.py", ("--recipe=authors2025",)),
        ("fig_s1a_representations.py", ("--hidden_widths=60,50",)),
        ("fig_s1a_representations.py", ("--hidden_widths=6,6", "--downstream_widths=5,5")),
        ("fig_s1a_representations.py", ("--tune",)),
        ("fig_s2_learning_rates.py", ("--recipe=authors2025",)),
        ("theory.py", ("--train_images=500", "--rate_w=1")),
        ("theory.py", ("--train_images=500", "--last_batch")),
        ("rank.py", ("--train_images=500", "--recipe=authors2025")),
    ]
    return found


def images(**changed) -> dict[str, np.ndarray]:
    """A good file's arrays, some of them changed, or left out (None)."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 40), ("test", 10)):
        arrays[f"{split}_images"] = random.integers(256, size=(n, 4, 4), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(n) % 3).astype(np.uint8)
    arrays |= changed
    return {name: array for name, array in arrays.items() if array is not None}


def as_npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def files() -> dict[str, bytes]:
    """Files that are no data set, by what is wrong with them."""
    good = images()
    x, labels, n = good["train_images"], good["train_labels"], len(good["train_images"])
    whole = as_npz(**good)
    objects = np.array([{"a": 1}] * n, object)
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999999, 4, 4), }"
    bad = {
        "an empty file": b"",
        "text": b"hello",
        "a pickle": b"\x80\x04K\x01.",
        "a truncated file": whole[: len(whole) // 2],
        "a file without its end": whole[:-22],
        "a file of zeros": bytes(1000),
        "one array, no archive": whole[60:400],
        "an empty archive": zipped(),
        "an archive of text": zipped(**{"train_images.npy": b"x" * 100}),
        "an array that claims to be huge": zipped(
            **{
                f"{name}.npy": header.ljust(128)
                for name in ("train_images", "train_labels", "test_images", "test_labels")
            }
        ),
        "a member that leads outside": zipped(**{"../../train_images.npy": b"x"}),
        "a zip bomb": zipped(**{"train_images.npy": bytes(30_000_000)}),
        "flipped bytes": bytes(b ^ 0xFF for b in whole[:500]) + whole[500:],
        "Keras' names, one of them left out": as_npz(x_train=x, y_train=labels, x_test=x),
        "Keras' names, flat images": as_npz(x_train=x.reshape(n, -1), y_train=labels, x_test=x, y_test=labels),
        "other names": as_npz(a=x, b=labels),
        "objects": as_npz(**images(train_labels=objects)),
    }
    changed: dict[str, dict] = {
        "no test images": {"test_images": None},
        "no training labels": {"train_labels": None},
        "validation images without labels": {"val_images": x},
        "floats from 0 to 1": {"train_images": x / 255.0},
        "floats from 0 to 255": {"train_images": x.astype(float)},
        "floats around 0": {"train_images": x / 127.5 - 1},
        "16 bits": {"train_images": x.astype(np.uint16) * 257},
        "16 bits, values of 8": {"train_images": x.astype(np.uint16)},
        "32-bit integers": {"train_images": x.astype(np.int32)},
        "signed bytes": {"train_images": (x // 2).astype(np.int8)},
        "black and white": {"train_images": x > 127},
        "not a number": {"train_images": np.full(x.shape, np.nan)},
        "complex": {"train_images": x.astype(complex)},
        "strings": {"train_images": np.full(x.shape, "a")},
        "dates": {"train_images": np.full(x.shape, np.datetime64("2020-01-01"))},
        "flat images": {"train_images": x.reshape(n, -1)},
        "five dimensions": {"train_images": x[..., None, None]},
        "one dimension": {"train_images": x[:, 0, 0]},
        "no image": {"train_images": x[:0], "train_labels": labels[:0]},
        "no pixel": {"train_images": x[:, :0]},
        "test images of another size": {"test_images": good["test_images"][:, :3]},
        "colour for training, grey for testing": {"train_images": np.repeat(x[..., None], 3, 3)},
        "a label too few": {"train_labels": labels[:-1]},
        "a label too many": {"test_labels": np.zeros(11, np.uint8)},
        "float labels": {"train_labels": labels.astype(float)},
        "text labels": {"train_labels": np.array(["cat"] * n)},
        "labels from 1": {"train_labels": labels + 1, "test_labels": good["test_labels"] + 1},
        "labels below 0": {"train_labels": labels.astype(int) - 1},
        "a label of a million": {"train_labels": labels.astype(int) + 10**6},
        "one class": {"train_labels": labels * 0, "test_labels": good["test_labels"] * 0},
        "one-hot rows": {
            "train_labels": np.eye(3, dtype=int)[labels],
            "test_labels": np.eye(3, dtype=int)[good["test_labels"]],
        },
        "rows of other numbers": {"train_labels": np.full((n, 3), 2)},
        "rows for training, classes for testing": {"train_labels": np.ones((n, 3), int)},
        "three dimensions of labels": {"train_labels": np.zeros((n, 3, 2), int)},
        "empty rows of labels": {"train_labels": np.zeros((n, 0), int)},
        "a scalar for labels": {"train_labels": np.array(3)},
        "one training image": {"train_images": x[:1], "train_labels": labels[:1]},
    }
    return bad | {what: as_npz(**images(**arrays)) for what, arrays in changed.items()}


def command(script: str, arguments: tuple[str, ...]) -> str:
    return f"`{script} {' '.join(arguments)}`"


def cell(text: str) -> str:
    """In the table."""
    return (text if len(text) < 90 else text[:60] + "…`").replace("|", "\\|")


def rows_of_table() -> list[str]:
    """The first cells of the stored table."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("| ").partition(" | ")[0] for line in lines if line.startswith("| ")][1:]


def trained(*arguments):
    """In place of training: what is trained was not refused."""
    raise AssertionError("it was not refused")


def refused(script: str, arguments: tuple[str, ...], cwd: pathlib.Path) -> str:
    """The line that a command gets in this folder. AssertionError where it is none, or where something is left."""
    before = sorted(cwd.rglob("*"))
    with mock.patch.object(training, "train", trained):
        done = commands.start(ROOT / "experiments" / script, *arguments, cwd=cwd)
    lines = done.stderr.splitlines()
    assert done.returncode != 0, f"{script} {arguments} was not refused"
    assert "Traceback" not in done.stderr, done.stderr
    assert len(lines) == 1, lines
    assert sorted(cwd.rglob("*")) == before
    return lines[0]


def all_of(folder: pathlib.Path) -> list[tuple[str, str]]:
    """(what is wrong, the line it gets) of every bad input."""
    found = []
    for script, arguments in flags():
        try:
            found.append((command(script, arguments), refused(script, arguments, folder)))
        except AssertionError as error:
            found.append((command(script, arguments), f"!!! {error}"))
    for what, content in files().items():
        (folder / "mine.npz").write_bytes(content)
        try:
            found.append((what, refused("table1.py", ("--dataset=mine.npz", "--batch_size=16"), folder)))
        except AssertionError as error:
            found.append((what, f"!!! {error}"))
    (folder / "mine.npz").unlink()
    return found


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        rows = all_of(pathlib.Path(name))
    short = [(cell(what), line.replace("|", "\\|").replace(name, "").replace(f"{ROOT}/", "")) for what, line in rows]
    print(len(rows), sum(line.startswith("!!!") for _, line in rows), file=sys.stderr)
    text = "# Bad inputs, and the line that each gets\n\nMade by `python tests/bad_inputs.py`.\n\n"
    text += "| given | answer |\n|---|---|\n"
    TABLE.write_text(text + "".join(f"| {what} | {line} |\n" for what, line in short), encoding="utf-8")
