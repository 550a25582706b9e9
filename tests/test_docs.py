"""The pages of docs/: all in the menu, no computed table behind, every name there, an example for each of the API.

Their own examples are doctests, links are in `test_readme`.
"""

import doctest
import importlib.util
import inspect
import pathlib
import pkgutil
import re
import sys

import pytest

import sam_jax as sj
from sam_jax.data.datasets import REGISTRY

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def text(page):
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("docs_tables", DOCS / "tables.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(DOCS))  # as `python docs/tables.py` has it
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(DOCS))
    return module


def test_the_menu_names_every_page_once():
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1].split("\n\n")[0]
    assert sorted(re.findall(r"[\w/]+\.md", menu)) == PAGES


def test_every_rule_has_a_page():
    pages = {pathlib.PurePath(page).stem for page in PAGES if page.startswith("rules/")}
    assert pages == {*sj.RULES, "overview"}


def test_computed_tables_are_those_of_the_code_and_the_stored_runs(tables):
    """Defaults, pathways, sources, verdicts, commands and times: `python docs/tables.py` writes them."""
    for page, parts in tables.computed().items():
        assert tables.PART.findall(text(page)) == parts, f"{page} is behind: python docs/tables.py"


def test_a_rules_picture_is_that_of_the_code(tables):
    for name, rule in sj.RULES.items():
        held = (DOCS / "rules" / f"{name}.svg").read_text(encoding="utf-8")
        assert held == tables.arrows.picture(rule), f"docs/rules/{name}.svg is behind: python docs/tables.py"


@pytest.mark.parametrize(
    ("rule", "solid", "dashed"),
    [("sgd", {"w"}, {"w_bar"}), ("fa", {"w"}, {"w_bar"}), ("sam", {"w", "w_bar", "v", "v_bar"}, set())],
)
def test_solid_arrows_are_plastic_and_dashed_ones_are_not(tables, rule, solid, dashed):
    """As the paper's Table 2 has it, by hand."""
    lines = re.findall(r"<path .*?/>", text(f"rules/{rule}.svg"))
    found = {name: ("dasharray" in line) for line in lines for name in re.findall(r"url\(#(\w+)\)", line)}
    assert {name for name, dashes in found.items() if not dashes} == solid
    assert {name for name, dashes in found.items() if dashes} == dashed | {"grey"}


def test_defaults_stand_on_a_rules_page(tables):
    """Once not by tables.py: the numbers of SAM by hand."""
    for row in ("| `rate_w` | 0.138 |", "| `rate_v_bar` | 0.0235 |", "| `decay` | 3.11e-05 |"):
        assert row in text("rules/sam.md") and row in tables.facts(sj.sam)
    assert "| `rate_w_bar` | as `rate_w` |" in text("rules/kp.md")


@pytest.mark.parametrize("page", [page for page in PAGES if "rules/" in page or page == "determinism.md"])
def test_every_test_that_a_page_names_is_there(page):
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", text(page)):
        assert f"def {name}(" in tests, name


def test_the_api_names_everything_public():
    modules = {name for name in sj.__all__ if f"\n## sam_jax.{name}\n" in text("api.md")}
    assert modules >= {"probes", "training", "interventions", "testing", "losses", "plasticity", "inputs", "data"}
    for name in {*sj.__all__} - modules - {"rules"}:
        assert re.search(rf"(::: sam_jax|`sj)\.{name}\b", text("api.md")), name


def shown(name):
    """What `::: name` puts on the page, by its full name: a function or a class, or all that are public in a module."""
    thing = pkgutil.resolve_name(name)
    if not inspect.ismodule(thing):
        return {name: thing}
    public = {key: value for key, value in vars(thing).items() if not key.startswith("_")}
    return {
        f"{name}.{key}": value
        for key, value in public.items()
        if (inspect.isclass(value) or inspect.isroutine(inspect.unwrap(value))) and value.__module__ == name
    }


API = {}
for line in re.findall(r"^::: ([\w.]+)$", text("api.md"), flags=re.MULTILINE):
    API |= shown(line)


@pytest.mark.parametrize("name", API)
def test_everything_on_the_api_page_has_an_example_that_comes_true(name):
    thing = API[name]
    (example,) = doctest.DocTestFinder(recurse=False).find(thing, name, module=sys.modules[thing.__module__])
    assert example.examples, f"{name} has no example"
    said = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert not said, "".join(said)


def test_the_data_page_has_the_catalogues_sizes():
    for name, spec in REGISTRY.items():
        val = spec.val_size or spec.train_size - spec.examples
        sizes = f"{spec.examples:,} / {val:,} / {spec.test_size:,}"
        shape = " × ".join(map(str, spec.shape))
        assert f"| `{name}` | {sizes} | {shape} | {spec.classes}" in text("data.md"), name


def test_every_data_set_of_table_1_says_what_to_type():
    for name in REGISTRY.keys() - {"digits"}:
        command = f"python experiments/table1.py --dataset={name} --epochs="
        assert f"### {name}\n\n- Type `{command}" in text("reproduce.md")
