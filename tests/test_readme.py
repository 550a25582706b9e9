"""What is stored in results/ is made of the rows beside it, and README.md and results/README.md show it.

Their examples, and those of docs/, run as doctests.
"""

import pathlib
import re
import shutil
import tomllib

import pytest

import sam_jax as sj
from sam_jax import RULES, compatibility_table
from sam_jax.experiments import verdicts
from sam_jax.lab import records, search_report, tables
from sam_jax.lab.results import Results

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
PAGES = sorted(
    path.relative_to(ROOT)
    for folder in (".", "docs", "docs/rules", "results", "tests")
    for path in (ROOT / folder).glob("*.md")
)
FOLDERS = sorted(path.parent for path in (ROOT / "results").glob("*/manifest.json"))
SEARCHES = [folder for folder in FOLDERS if (folder / "search.md").exists()]
RUNS = [folder for folder in FOLDERS if folder not in SEARCHES]
TABLE1 = ROOT / "results" / "table1"


def name(folder):
    return folder.name


def reference_of(text, titles):
    """The arm that a table.md compares the others with: `- mnist: SAM − SGD: +0.12 points`; None where it does not."""
    compared = [line for line in text.splitlines() if re.match(r"- .+: ([+-]\d|no pairs)", line)]
    named = [arm for arm, title in titles.items() if all(f" − {title}: " in line for line in compared)]
    return max(named, key=len) if compared else None  # of "b" and "a − b" the longer


@pytest.mark.parametrize("folder", RUNS, ids=name)
def test_stored_tables_are_made_of_the_stored_rows(folder, tmp_path):
    results = Results.read(folder)
    text = (folder / "table.md").read_text(encoding="utf-8")
    titles = {arm: results.title(arm) for dataset in results.datasets for arm in results.arms(dataset)}
    assert text == tables.markdown(results, reference_of(text, titles))
    for measure, _, file_name in tables.MEASURES:
        summary = tables.summarise(results, measure)
        assert (folder / file_name).exists() == bool(summary)
        if summary:
            tables.write_csv(tmp_path / file_name, summary)
            assert (folder / file_name).read_bytes() == (tmp_path / file_name).read_bytes()


@pytest.mark.parametrize("folder", RUNS, ids=name)
def test_stored_runs_are_finished(folder):
    """Every arm has the same seeds on a data set, and each got through its last epoch."""
    manifest, rows = records.read(folder)
    assert {records.run_of(row) for row in rows} == records.finished(manifest, rows)
    assert manifest["cells"].keys() == manifest["data"].keys()
    for dataset, arms in manifest["cells"].items():
        seeds = {arm: {row["seed"] for row in rows if (row["dataset"], row["arm"]) == (dataset, arm)} for arm in arms}
        assert len(set(map(frozenset, seeds.values()))) == 1 and all(seeds.values()), seeds


@pytest.mark.slow
@pytest.mark.parametrize("folder", SEARCHES, ids=name)
def test_a_stored_search_is_made_of_its_rows(folder, tmp_path):
    for file_name in (records.MANIFEST, records.METRICS):
        shutil.copy(folder / file_name, tmp_path)
    search_report.make(Results.read(tmp_path))
    made = [tmp_path / "search.md", *(tmp_path / "configs").iterdir()]
    for path in made:
        stored = folder / path.relative_to(tmp_path)
        assert stored.read_text(encoding="utf-8") == path.read_text(encoding="utf-8"), stored
    assert len(made) == 1 + len(list((folder / "configs").iterdir()))


def test_the_results_page_shows_every_row_of_table_1_as_it_is_stored():
    results = Results.read(TABLE1)
    for entry in tables.summarise(results):
        shown = " | ".join(tables.cells(entry, results.title(entry["arm"])))
        assert f"| {shown} |" in PAGE, f"{entry['dataset']} {entry['arm']}"


def test_the_readme_shows_table_1_beside_the_authors_protocol_as_they_are_stored():
    results, protocol = Results.read(TABLE1), Results.read(ROOT / "results" / "protocol")
    by_recipe = {
        (entry["dataset"], entry["arm"]): tables.spread(entry["test_mean"], entry["test_sd"])
        for entry in tables.summarise(protocol)
    }
    expected = []
    for entry in tables.summarise(results):
        if entry["paper"] is None:  # the rules beyond the paper's stand on the results' page
            continue
        expected.append(
            [
                {"cifar10": "CIFAR-10", "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}[entry["dataset"]],
                results.title(entry["arm"]),
                tables.spread(entry["test_mean"], entry["test_sd"]),
                f"{entry['train_mean']:.2f}",
                by_recipe.get((entry["dataset"], entry["arm"]), ""),
                f"{entry['paper']:.2f}",
            ]
        )
    shown = [[cell.strip() for cell in line.split("|")[1:-1]] for line in README.splitlines() if line.startswith("|")]
    assert shown[2:] == expected  # the first two are the header


def test_the_results_page_shows_the_protocols_table_as_it_is_stored():
    stored = (ROOT / "results" / "protocol" / "protocol.md").read_text(encoding="utf-8")
    rows = [line for line in stored.splitlines() if line.startswith("|")]
    assert len(rows) == 3 * (2 + 8) and all(line in PAGE for line in rows)


def links(page):
    """Where the page's links and images lead within the project: files, from the page's own folder."""
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    return [(ROOT / page).parent / target for target in targets if target and ":" not in target]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_of_a_page_leads_to_a_file(page):
    missing = [str(target) for target in links(page) if not target.exists()]
    assert not missing


def test_the_results_page_and_the_readme_name_folders_that_are_there():
    shown = set(re.findall(r"results/(\w+)", README + PAGE)) - {"report", "README"}
    assert TABLE1.name in shown and all((ROOT / "results" / folder).exists() for folder in shown)


def test_the_results_page_shows_the_verdicts_as_they_are_stored():
    for line in verdicts.markdown(RUNS).splitlines():
        assert line in PAGE, line


def without_code(text):
    """The page's lines outside its fenced blocks."""
    parts = re.split(r"^```.*$", text, flags=re.MULTILINE)
    return "\n".join(parts[::2]).splitlines()


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 130


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "bad_inputs.md"], ids=str)
def test_no_line_of_prose_is_over_forty_words(page):
    prose = [line for line in without_code((ROOT / page).read_text(encoding="utf-8")) if not line.startswith("|")]
    assert [line for line in prose if len(line.split()) > 40] == []


@pytest.mark.slow
def test_the_readmes_own_rule_is_a_whole_file_that_keeps_every_promise(tmp_path):
    (code,) = re.findall(r"^```python\n(import .*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    command = re.search(r"--rules=sgd,sam,(\w+\.py):(\w+)$", README, flags=re.MULTILINE)
    assert command
    file, name = command.groups()
    (tmp_path / file).write_text(code, encoding="utf-8")
    sj.testing.check(sj.rules.find(f"{tmp_path / file}:{name}"))


def test_one_version_stands_everywhere():
    """pyproject.toml has it; `__version__` is read from what was installed, the other files repeat it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert sj.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"sam_jax-{version}-py3" in README and f"version = {{{version}}}" in README


@pytest.mark.parametrize(
    ("line", "arm"),
    [
        ("- mine: SAM − SGD: +0.12 points, n = 1", "sgd"),
        ("- mine: SAM − a − b: -3.00 points [-4.00, -2.00], p = 0.0100, paired t-test, n = 5", "a − b"),
        ("- mine: SAM − one: two: no pairs, 2 of 2 pairs lost", "one: two"),
        ("- mine, SAM, seed 2 diverged at epoch 2", None),
    ],
)
def test_the_reference_arm_is_read_off_a_table(line, arm):
    titles = {"sam": "SAM", "sgd": "SGD", "b": "b", "a − b": "a − b", "one: two": "one: two"}
    assert reference_of(f"Made by x − y.\n\n{line}\n", titles) == arm


def test_the_results_page_shows_table_2_as_it_is_computed():
    for rule, ticks in compatibility_table().items():
        cells = [RULES[rule].title, *("✓" if tick else "✗" for tick in ticks.values())]
        assert f"| {' | '.join(cells)} |" in PAGE
