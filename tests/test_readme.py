"""The README's numbers are those of the stored runs; its example runs as a doctest (see pyproject.toml)."""

import pathlib

import pytest

from sam_jax import RULES, compatibility_table, records, tables

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FOLDERS = sorted(path.parent for path in (ROOT / "results").glob("*/manifest.json"))


def test_there_are_stored_runs():
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_stored_tables_are_made_of_the_stored_rows(folder, tmp_path):
    manifest, rows = records.read(folder)
    assert (folder / "table.md").read_text() == tables.markdown(manifest, rows)
    tables.write_csv(tmp_path / "table.csv", tables.summarise(rows))
    assert (folder / "table.csv").read_bytes() == (tmp_path / "table.csv").read_bytes()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_readme_shows_every_row_as_it_is_stored(folder):
    _, rows = records.read(folder)
    for entry in tables.summarise(rows):
        assert f"| {' | '.join(tables.cells(entry))} |" in README, f"{entry['dataset']} {entry['rule']}"


def test_the_readme_shows_table_2_as_it_is_computed():
    for rule, ticks in compatibility_table().items():
        cells = [RULES[rule].title, *("✓" if tick else "✗" for tick in ticks.values())]
        assert f"| {' | '.join(cells)} |" in README
