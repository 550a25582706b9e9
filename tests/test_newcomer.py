"""A newcomer's path, word for word from README.md: the built wheel alone, in an empty folder, far from the clone.

The wheel is built by `python -m build`, which fetches hatchling. It is installed without its dependencies, which
are those of the environment that runs the tests.
"""

import doctest
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import venv

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
TEN_LINES = next(code for kind, code in BLOCKS if kind == "python" and code.startswith(">>> "))
OWN_RULE = next(code for kind, code in BLOCKS if kind == "python" and code.startswith("import "))
COMMAND = next(code for kind, code in BLOCKS if kind == "sh" and "mine.py" in code)

pytestmark = pytest.mark.slow


def run(*command, cwd):
    """What a command prints, in an environment that knows nothing of the clone."""
    known = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    environment = known | {"HOME": str(cwd), "PYTHONUTF8": "1", "COLUMNS": "120"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of a new virtual environment that has the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT)
    subprocess.run([*map(str, build)], check=True, capture_output=True, timeout=600)
    (wheel,) = folder.glob("*.whl")
    assert wheel.name in README  # as the page has it after `pip install`
    venv.create(folder / "venv", with_pip=False)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel)
    subprocess.run([sys.executable, *map(str, install)], check=True, timeout=600)
    # A path file is not read in the folders that another one adds: the clone that is installed there stays out.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder / "venv" / "bin" / "python"


def test_what_is_imported_is_the_wheel(python, tmp_path):
    where = run(python, "-c", "import sam_jax.experiments.table1 as t; print(t.__file__)", cwd=tmp_path).strip()
    assert pathlib.Path(where).is_relative_to(python.parent.parent)


def test_the_ten_lines_print_what_the_page_says(python, tmp_path):
    examples = doctest.DocTestParser().get_examples(TEN_LINES)
    (tmp_path / "ten_lines.py").write_text("".join(example.source for example in examples), encoding="utf-8")
    assert run(python, "ten_lines.py", cwd=tmp_path) == "".join(example.want for example in examples)


def test_a_rule_of_ones_own_runs_in_table_1_as_the_page_says(python, tmp_path):
    """Accuracies over five seeds, to a point: other processors round otherwise."""
    (tmp_path / "mine.py").write_text(OWN_RULE, encoding="utf-8")
    first, *arguments = COMMAND.split()
    assert first == "python"
    printed = run(python, *arguments, cwd=tmp_path)
    said = re.search(r"prints test accuracies of (.+?)\.\n", README, flags=re.DOTALL)
    promised = re.findall(r"(\d+) % \(([^)]+)\)", said.group(1))
    assert len(promised) == 3
    for percent, title in promised:
        row = re.search(rf"^{re.escape(title)} +([\d.]+) ±", printed, flags=re.MULTILINE)
        assert row, f"no row of {title} in\n{printed}"
        assert abs(float(row.group(1)) - float(percent)) <= 1, row.group(0)
    assert [path.name for path in tmp_path.iterdir() if path.name == "runs"] == ["runs"]  # records beside the rule
