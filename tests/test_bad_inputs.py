"""Whatever is given, a wrong input is one line with a remedy that is right when it is followed."""

import bad_inputs
import commands
import numpy as np
import pytest

import sam_jax as sj

FLAGS = ("--dataset=mine.npz", "--batch_size=16", "--epochs=1", "--seeds=1", "--hidden_widths=3", "--rules=sgd")
IMAGES = bad_inputs.images()["train_images"]
# What the file holds for its training images, the remedy's text, and the same in Python.
REMEDIES = {
    "floats from 0 to 1": (IMAGES / 255.0, "np.rint(255 * x).astype(np.uint8)", lambda x: np.rint(255 * x)),
    "floats from 0 to 255": (IMAGES.astype(float), "np.rint(x).astype(np.uint8)", np.rint),
    "16 bits": (IMAGES.astype(np.uint16) * 257, "(x // 257).astype(np.uint8)", lambda x: x // 257),
    "black and white": (IMAGES > 127, "x.astype(np.uint8) * 255", lambda x: x.astype(np.uint8) * 255),
    "floats around 0": (
        IMAGES / 127.5 - 1,
        "np.rint(255 * ((x - x.min()) / (x.max() - x.min()))).astype(np.uint8)",
        lambda x: np.rint(255 * ((x - x.min()) / (x.max() - x.min()))),
    ),
    "flat": (IMAGES.reshape(len(IMAGES), -1), "x.reshape(-1, 4, 4)", lambda x: x.reshape(-1, 4, 4)),
}


def test_every_bad_input_gets_one_line_and_leaves_nothing(tmp_path):
    rows = bad_inputs.all_of(tmp_path)
    assert [row for row in rows if row[1].startswith("!!!")] == []
    assert len(rows) == len({what for what, _ in rows}) >= 300
    assert not list(tmp_path.iterdir())


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


def test_a_table_says_how_many_images_the_classes_have(tmp_path):
    (tmp_path / "mine.npz").write_bytes(bad_inputs.as_npz(**bad_inputs.images()))
    done = commands.start(bad_inputs.ROOT / "experiments" / "table1.py", *FLAGS, "--out_dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    sizes = np.bincount(sj.load(tmp_path / "mine.npz").train.labels)
    told = f"3 classes, of {sizes.min()} to {sizes.max()} training images each"
    assert told in " ".join(done.stdout.split())
