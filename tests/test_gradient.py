"""The experiment on each rule's step against the gradient: what is measured of whom, and what it leaves."""

import pathlib

import numpy as np
import official_files as files
import pytest

from sam_jax import lab
from sam_jax.experiments import gradient, verdicts

TRACED = f"{pathlib.Path(__file__).parent.parent / 'examples' / 'eligibility_trace.py'}:traced"


@pytest.mark.slow
def test_backprop_is_its_own_gradient_and_sam_alone_has_the_premise(tmp_path):
    splits = [files.examples(n, (2, 2, 1), 3, place) for place, n in enumerate((24, 6, 6))]
    files.write_npz(tmp_path / "mine.npz", splits[0], splits[2], splits[1])
    given = {"dataset": tmp_path / "mine.npz", "out_dir": tmp_path / "out", "rules": f"sgd,sam,{TRACED}"}
    given |= {"epochs": 1, "seeds": 2, "batch_size": 12, "hidden_widths": "5,4"}
    lab.main(gradient.EXPERIMENT, ["gradient.py", *(f"--{name}={value}" for name, value in given.items())])
    results = lab.Results.read(tmp_path / "out")
    for row in results.rows:
        assert (gradient.MISFIT in row) == (gradient.THEOREM in row) == (row["arm"] == "sam")
        assert (gradient.COSINE in row) == (row["arm"] != "traced")  # it carries a memory along
        if gradient.COSINE in row:
            assert len(row[gradient.COSINE]) == 2 and np.all(np.abs(row[gradient.COSINE]) <= 1 + 1e-6)
        if row["arm"] == "sgd":
            np.testing.assert_allclose(row[gradient.COSINE], [1, 1], atol=1e-5)
    text = (tmp_path / "out" / "gradient.md").read_text()
    assert "| SGD | cosine with the gradient | 1.00, 1.00 | 1.00, 1.00 | 1.00 [1.00, 1.00] |" in text
    assert text.count("misfit of Theorem 3's premise") == text.count("cosine with H × the gradient") == 1
    (verdict,) = verdicts.read(tmp_path / "out")
    assert verdict[0::4] == ("theorem3", "undecided") and "not stationary" in verdict.ours  # after two steps
    assert (tmp_path / "out" / "gradient_mine.png").is_file()
