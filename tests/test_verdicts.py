"""Verdicts keep what they are given, take only known claims and outcomes, and every claim names its experiment."""

import json

import pytest
from sam_jax.experiments.paper import CLAIMS
from sam_jax.experiments.verdicts import OUTCOMES, Verdict

from sam_jax.experiments import verdicts
from sam_jax.lab.compare import Effect
from sam_jax.lab.statistics import Paired

EFFECTS = (
    Effect("SAM − SGD", Paired(-2.0, -2.5, -1.5, 0.001, 5, 0)),
    Effect("effective rank", Paired(None, None, None, None, 0, 5), "dimensions"),
)
FOUND = [
    Verdict("table1", "mnist, 50 epochs, 5 seeds", "SAM 98.85", "98.41, 95 % interval 98.30 to 98.52", "holds"),
    Verdict("table1", "cifar10, 50 epochs, 5 seeds", "SAM 51.91", "50.80 ± 0.20", "does not hold", EFFECTS),
    Verdict("lemma1", "digits", "V̄ = Vᵀ", "‖V − V̄ᵀ‖ = 1e-13", "undecided"),
]


def test_verdicts_come_back_as_they_were_written(tmp_path):
    verdicts.write(tmp_path, iter(FOUND))
    assert verdicts.read(tmp_path) == FOUND
    verdicts.write(tmp_path, FOUND[:1])  # a run made again replaces its verdicts
    assert verdicts.read(tmp_path) == FOUND[:1]
    assert [path.name for path in tmp_path.iterdir()] == [verdicts.FILE]


def test_the_file_is_plain_json_for_others(tmp_path):
    verdicts.write(tmp_path, FOUND)
    entries = json.loads((tmp_path / "verdicts.json").read_text(encoding="utf-8"))
    assert [entry["outcome"] for entry in entries] == ["holds", "does not hold", "undecided"]
    assert set(entries[0]) == {"claim", "setting", "paper", "ours", "outcome", "effects"}
    assert [effect["name"] for effect in entries[1]["effects"]] == [effect.name for effect in EFFECTS]
    assert entries[1]["effects"][0]["unit"] == "points" and entries[1]["effects"][0]["low"] == -2.5


def test_a_run_without_verdicts_has_none(tmp_path):
    assert verdicts.read(tmp_path) == []


ENTRY = '[{"claim": "lemma1", "setting": "s", "paper": "p", "ours": "o", "outcome": "holds", "effects": []}]'
WRONG = [
    ({"claim": "table9"}, "claim 'table9' is unknown, expected one of table1, table2"),
    ({"outcome": "maybe"}, "the outcome of lemma1 is 'maybe', expected one of holds, does not hold, undecided"),
    ({"ours": " "}, "ours of the verdict on lemma1 is ' ', expected some words"),
    ({"ours": 0.5}, "ours of the verdict on lemma1 is 0.5, expected some words"),
]


@pytest.mark.parametrize(("changes", "line"), WRONG)
def test_a_wrong_verdict_is_refused_and_nothing_is_written(changes, line, tmp_path):
    verdicts.write(tmp_path, FOUND)
    with pytest.raises(ValueError, match="expected") as error:
        verdicts.write(tmp_path, [FOUND[0], FOUND[2]._replace(**changes)])
    assert line in str(error.value)
    assert verdicts.read(tmp_path) == FOUND
    assert [path.name for path in tmp_path.iterdir()] == [verdicts.FILE]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "3",
        "[3]",
        '["holds"]',
        '[{"claim": "lemma1"}]',
        '[{"truth": 1}]',
        ENTRY.replace("[]", "[3]"),
        ENTRY.replace("[]", '[{"low": 1}]'),
        "\xff",
    ],
)
def test_a_damaged_file_is_named(text, tmp_path):
    path = tmp_path / verdicts.FILE
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="holds no verdicts") as error:
        verdicts.read(tmp_path)
    assert str(path) in str(error.value)


def test_the_papers_sixteen_claims_and_its_predictions():
    """In the order of issue and paper; each is one plain sentence, with its place and a script of its own."""
    tables = ["table1", "table2", "fig2", "scalar_error", "s1a", "s1b", "s1d", "s2"]
    theory = ["lemma1", "theorem3", "proposition1", "reductions"]
    variants = ["widths", "downstream_nonlinearity", "postsynaptic_signal", "rate_order"]
    assert list(CLAIMS) == [*tables, *theory, *variants, "predictions"]
    for claim in CLAIMS.values():
        assert claim.title.endswith(".") and claim.title.count(". ") == 0
        assert any(word in claim.source for word in ("Table", "Figure", "Lines", "lines"))
        assert claim.script.startswith("experiments/") and claim.script.endswith(".py")
    assert len({claim.title for claim in CLAIMS.values()}) == len(CLAIMS)
    assert OUTCOMES == ("holds", "does not hold", "undecided")


def test_the_table_counts_the_verdicts_of_every_claim(tmp_path):
    """A run at a recipe has a column of its own."""
    for name, found in (("one", [FOUND[0], FOUND[2]]), ("two", FOUND[:2]), ("none", []), ("theirs", FOUND[:1])):
        (tmp_path / name).mkdir()
        verdicts.write(tmp_path / name, found)
    for name, recipe in (("two", ""), ("theirs", "authors2025")):
        (tmp_path / name / "manifest.json").write_text(json.dumps({"flags": {"recipe": recipe}}))
    head, _, *lines = verdicts.markdown(tmp_path / name for name in ("one", "two", "none", "theirs")).splitlines()
    assert head == "| claim of the paper | at our settings | at the authors' recipe | runs |"
    assert len(lines) == len(CLAIMS)
    found = {line.split(" | ")[0].strip("| "): line.split(" | ", 1)[1] for line in lines}
    assert found[CLAIMS["table1"].title] == "holds (2 of 3), does not hold (1 of 3) | holds | one, two, theirs |"
    assert found[CLAIMS["lemma1"].title] == "undecided | not run here | one |"
    assert found[CLAIMS["s2"].title] == "not run here | not run here |  |"
