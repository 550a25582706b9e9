"""Whatever is given, a wrong input is one line with a remedy that is right when it is followed."""

import re
import shutil
from unittest import mock

import bad_inputs
import commands
import numpy as np
import pytest

import sam_jax as sj
from sam_jax import training
from sam_jax.data import datasets

FLAGS = ("--dataset=mine.npz", "--batch_size=16", "--epochs=1", "--seeds=1", "--hidden_widths=3", "--rules=sgd")
IMAGES = bad_inputs.images()["train_images"]
# What the file holds for its training images, the remedy's text, and the same in Python.
REMEDIES = {
    "floats from 0 to 1": (IMAGES / 255.0, "np.rint(255 * x).astype(np.uint8)", lambda x: np.rint(255 * x)),
    "floats from 0 to 255": (IMAGES.astype(float), "np.rint(x).astype(np.uint8)", np.rint),
    "16 bits, values of 8": (IMAGES.astype(np.uint16), "np.rint(x).astype(np.uint8)", np.rint),
    "16 bits": (IMAGES.astype(np.uint16) * 257, "(x // 257).astype(np.uint8)", lambda x: x // 257),
    "black and white": (IMAGES > 127, "x.astype(np.uint8) * 255", lambda x: x.astype(np.uint8) * 255),
    "floats around 0": (
        IMAGES / 127.5 - 1,
        "np.rint(255 * ((x - x.min()) / (x.max() - x.min()))).astype(np.uint8)",
        lambda x: np.rint(255 * ((x - x.min()) / (x.max() - x.min()))),
    ),
    "flat": (IMAGES.reshape(len(IMAGES), -1), "x.reshape(-1, 4, 4)", lambda x: x.reshape(-1, 4, 4)),
}


LABELS = bad_inputs.images()["train_labels"].astype(int)
LABEL_REMEDIES = {
    "from 1": (LABELS + 1, "labels - 1", lambda y: y - 1),
    "one-hot": (np.eye(3, dtype=int)[LABELS], "rows.argmax(axis=1)", lambda y: y.argmax(axis=1)),
    "a million": (LABELS + 10**6, "number the classes 0, 1, 2", lambda y: np.unique(y, return_inverse=True)[1]),
    "below 0": (LABELS - 1, "number the classes 0, 1, 2", lambda y: np.unique(y, return_inverse=True)[1]),
}
# A line's remedy, and the value that it has the named flag take: a text, or the group of the line.
VALUES = {
    r"--(\w+)\S*: -\S+ is not a positive integer|--(\w+)=0: 0 is not a positive integer": "300",
    r"--(\w+)=.*: expected a whole number": "300",
    r"--(\w+)=.*: expected a number|--(\w+) is \w+, expected a finite number": "0.5",
    r"--(\w+)=.*is not a non-negative number": "0.5",
    r"--(\w+)=.*: expected true or false": "true",
    r"--(\w+)=.*: expected one of (?P<value>\w+)\|": None,
    r"--(\w+)=.* is unknown, expected one of (?P<value>\w+)": None,
    r"--(\w+) has '.*', expected some of (?P<value>\w+)": None,
    r"--(\w+) has '.*', expected positive whole numbers, as in (?P<value>[\d,]+)": None,
    r"--(\w+) is \d+, but digits has (?P<value>\d+) training images": None,
    r"(batch_size) is \d+, expected at most the (?P<value>\d+) training images": None,
    r"(rule)s? '.*' is unknown \(did you mean (?P<value>\w+)\?\)": None,
    r"(rule) '.*' is unknown, expected one of (?P<value>\w+)": None,
    r"unknown (data) ?set '.*'; nearest: (?P<value>\w+);": None,
    r"needs 1\S+ GB .*: (use) narrower streams": "9,9,9",
    r"--(\w+)=.* is no number above 0": "1",
    r"--(\w+)=.* is no cell of Figure S2, .*as in (?P<value>\S+)": None,
    r"(freeze) '.*': expected PATHWAY@EPOCH .*as in (?P<value>\S+)": None,
    r"--(\w+)=v@20: expected an epoch before the last, 20": "v@19",
    r"(hidden_widths) is .*, expected two layers or more, all of one width": "6,6",
    r"(downstream_widths) has 1 entries, expected 3": "9,9,9",
    r"(out_dir) \S+ is not a folder: give another": "other",
}
NAMED = {"rule": "rules", "data": "dataset", "use": "hidden_widths"}
LEFT_OUT = {  # and the flag that is to go
    r"--(\w+).*: leave it out": None,
    r"leave the rule or --(recipe) out": None,
    r"name a folder, or none": "data_dir",
}
NO_REMEDY = (  # there is nothing to copy from these lines, or a test of its own follows them
    "Missing value for flag",
    "is no flag: flags begin with --",
    "Unknown command line flag",
    "expected PATH.py:NAME",
    "or PATH.py:NAME",
    "no manifest.json: expected the folder of a run",
    "No such file or directory",
    "needs one label for each image",
    "--distributed needs --out_dir",
    "does not match",
)


def followed(line, arguments):
    """The arguments as the line says to mend them; None where it has nothing to copy."""
    for pattern, value in VALUES.items():
        if match := re.search(pattern, line):
            name = next(group for group in match.groups() if group)
            value = value or match["value"]
            name = NAMED.get(name, name)
            kept = [one for one in arguments if not one.startswith(f"--{name}")]
            return (*kept, f"--{name}={value}")
    if match := re.search(r"add (--\w+)", line):
        return (*arguments, match[1])
    for pattern, name in LEFT_OUT.items():
        if match := re.search(pattern, line):
            name = name or match[1]
            return tuple(one for one in arguments if not one.startswith(f"--{name}"))
    return None


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What is wrong, and the line it gets; nothing is left behind."""
    folder = tmp_path_factory.mktemp("bad")
    rows = bad_inputs.all_of(folder)
    assert not list(folder.iterdir())
    return rows


def test_every_bad_input_gets_one_line_and_leaves_nothing(answers):
    assert [row for row in answers if row[1].startswith("!!!")] == []
    assert len(answers) == len({what for what, _ in answers}) >= 300


@pytest.mark.slow
def test_a_flag_that_is_mended_as_its_line_says_gets_as_far_as_training(answers, tmp_path):
    told = [line for _, line in answers]
    mended, without = set(), []
    for (script, arguments), line in zip(bad_inputs.flags(), told, strict=False):
        if (better := followed(line, arguments)) is not None:
            mended.add((script, better))
        elif not any(known in line for known in NO_REMEDY):
            without.append(line)
    assert without == [] and len(mended) > 40
    for script, arguments in sorted(mended):
        named = [one.removeprefix("--dataset=") for one in arguments if one.startswith("--dataset=")]
        for name in named:
            datasets.check(name)
        if named or script != "table1.py":
            arguments += ("--dataset=digits",)  # others would be downloaded
        with mock.patch.object(training, "train", bad_inputs.trained):
            done = commands.start(bad_inputs.ROOT / "experiments" / script, *arguments, cwd=tmp_path)
        assert "it was not refused" in done.stderr, (script, arguments, done.stderr)
        for path in tmp_path.iterdir():
            shutil.rmtree(path)


def test_the_table_has_every_bad_input_and_no_other():
    """`python tests/bad_inputs.py` writes it again."""
    given = [bad_inputs.command(script, arguments) for script, arguments in bad_inputs.flags()]
    assert bad_inputs.rows_of_table() == [bad_inputs.cell(what) for what in (*given, *bad_inputs.files())]


@pytest.mark.parametrize("what", REMEDIES)
def test_a_remedy_that_is_followed_works(what, tmp_path):
    given, text, mend = REMEDIES[what]
    (tmp_path / "mine.npz").write_bytes(bad_inputs.as_npz(**bad_inputs.images(train_images=given)))
    assert text in bad_inputs.refused("table1.py", FLAGS, tmp_path)
    mended = mend(given).astype(np.uint8)
    if what != "black and white":
        np.testing.assert_array_equal(mended, IMAGES)
    (tmp_path / "mine.npz").write_bytes(bad_inputs.as_npz(**bad_inputs.images(train_images=mended)))
    assert sj.load(tmp_path / "mine.npz").shape == (4, 4, 1)


@pytest.mark.parametrize("what", LABEL_REMEDIES)
def test_a_remedy_of_labels_that_is_followed_works(what, tmp_path):
    given, text, mend = LABEL_REMEDIES[what]
    test = bad_inputs.images()["test_labels"].astype(int)
    shifted = {"from 1": test + 1, "one-hot": np.eye(3, dtype=int)[test]}.get(what, test)
    arrays = bad_inputs.images(train_labels=given, test_labels=shifted)
    (tmp_path / "mine.npz").write_bytes(bad_inputs.as_npz(**arrays))
    assert text in bad_inputs.refused("table1.py", FLAGS, tmp_path)
    mended = {f"{split}_labels": mend(arrays[f"{split}_labels"]) for split in ("train", "test")}
    (tmp_path / "mine.npz").write_bytes(bad_inputs.as_npz(**bad_inputs.images(**mended)))
    np.testing.assert_array_equal(sj.load(tmp_path / "mine.npz").test.labels, test)


def test_a_table_says_how_many_images_the_classes_have(tmp_path):
    (tmp_path / "mine.npz").write_bytes(bad_inputs.as_npz(**bad_inputs.images()))
    done = commands.start(bad_inputs.ROOT / "experiments" / "table1.py", *FLAGS, "--out_dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    sizes = np.bincount(sj.load(tmp_path / "mine.npz").train.labels)
    told = f"3 classes, of {sizes.min()} to {sizes.max()} training images each"
    assert told in " ".join(done.stdout.split())
