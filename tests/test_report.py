"""The page of verdicts: complete, self-contained, safe from what it quotes, and never half written."""

import base64
import html
import html.parser
import io
import pathlib
import re
import urllib.parse

import commands
import numpy as np
import pytest
from PIL import Image
from sam_jax.experiments.paper import CLAIMS
from sam_jax.experiments.verdicts import Verdict

from sam_jax.experiments import verdicts
from sam_jax.lab import records
from sam_jax.lab.compare import Effect
from sam_jax.lab.statistics import Paired

SCRIPT = pathlib.Path(__file__).parent.parent / "experiments" / "report.py"
HOSTILE = "<script>alert('x')</script> & \"quotes\""
OURS = "−0.73 points, 95 % interval −0.91 to −0.55, paired t-test, p = 0.0004"
# Of one scale from 0 to 3 points, drawn from 5 to 95; ranks have a scale of their own, and a lost pair no bar.
EFFECTS = (
    Effect("SAM − FA", Paired(2.0, 1.0, 3.0, 0.01, 5, 0)),
    Effect("SAM − KP", Paired(0.5, None, None, None, 1, 4)),
    Effect("SAM − WM", Paired(None, None, None, None, 0, 5)),
    Effect("rank", Paired(-4.0, -8.0, 0.0, 0.05, 5, 0), "dimensions"),
)
BARS = [
    {"zero": (5.0, 5.0), "interval": (35.0, 95.0), "mean": (65.0, 65.0)},
    {"zero": (5.0, 5.0), "mean": (20.0, 20.0)},
    {"zero": (5.0, 5.0)},
    {"zero": (95.0, 95.0), "interval": (5.0, 95.0), "mean": (50.0, 50.0)},
]
VOID = {"meta", "link", "img", "br", "hr", "wbr"}
KIBIBYTES = 2000


class Page(html.parser.HTMLParser):
    """Every tag with its attributes, the text outside style, and whether the tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(text)
        assert self.open == []
        self.text = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):  # inside an SVG
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def report(*arguments, cwd):
    return commands.start(SCRIPT, *arguments, cwd=cwd)


def make_run(folder, found=(), figures=(), table=None):
    from matplotlib.figure import Figure

    data = {"digits": {"sizes": {"train": 1295, "val": 143, "test": 359}}}
    records.open_run(folder, "experiment", {}, data, {})
    manifest = records.read(folder)[0]
    records.write_manifest(folder, {**manifest, "command": f"experiments/{folder.name}.py --epochs=3"})
    records.append(folder, [{"dataset": "digits", "arm": "sam", "seed": seed, "epoch": 3} for seed in (0, 1)])
    if found:
        verdicts.write(folder, found)
    for name in figures:
        figure = Figure(figsize=(1, 1))
        figure.subplots().plot([0, 1], [0, len(name)])
        figure.savefig(folder / name, dpi=30)
    if table:
        (folder / "table.md").write_text(table, encoding="utf-8")


TABLE = f"""### digits: accuracy

| rule | test % |
| --- | ---: |
| SGD | 97.77 ± 0.09 |
| {HOSTILE} | 97.04 |

![far](https://example.org/far.png) [away](javascript:alert(1)) <img src="https://example.org/b.png">

- digits, SAM, seed 3 diverged at epoch 7
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that speak of table1, one of lemma1, one of nothing; with a name that needs quoting."""
    root = tmp_path_factory.mktemp("runs") / "results"
    first = [
        Verdict("table1", HOSTILE, "SAM 98.85, SGD 98.44", OURS, "does not hold"),
        Verdict("table1", "digits, 3 epochs, 2 seeds", "SAM above SGD", "+0.1 points", "holds", EFFECTS),
    ]
    make_run(root / "table 1 #2?", first, ["curves.png", "map.png"], TABLE)
    second = [
        Verdict("table1", "mnist, 9 epochs, 5 seeds", "SAM above SGD", "+0.2 points", "undecided"),
        Verdict("lemma1", "digits, 200 steps", "V̄ = Vᵀ", "‖V − V̄ᵀ‖ below 1e-12", "holds"),
    ]
    make_run(root / "theory", second, ["lemma.png"])
    make_run(root / "silent")
    return root


@pytest.fixture(scope="module")
def page(runs):
    """The page at its default place, with its text."""
    done = report(cwd=runs.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(pathlib.Path("results", "report.html")) and done.stderr == ""
    text = (runs / "report.html").read_text(encoding="utf-8")
    return Page(text), text


def section(text, start, end):
    """The HTML between two strings."""
    return text.split(start, 1)[1].split(end, 1)[0]


def test_every_claim_stands_there_with_its_verdicts_or_the_command_that_would_run_it(page):
    parsed, text = page
    for key, claim in CLAIMS.items():
        row = Page("<table>" + section(text, f'<tbody id="claim-{key}">', "</tbody>") + "</table>").text
        assert claim.title in row and claim.source in row
        if key in ("table1", "lemma1"):
            assert "not run here" not in row
        else:
            assert "not run here" in row and f"python {claim.script}" in row
    table1 = Page("<table>" + section(text, '<tbody id="claim-table1">', "</tbody>") + "</table>")
    assert [table1.text.count(outcome) for outcome in ("does not hold", "undecided", "✓ holds")] == [1, 1, 1]
    for word in ("SAM 98.85, SGD 98.44", OURS, "digits, 3 epochs, 2 seeds", "mnist, 9 epochs, 5 seeds"):
        assert word in table1.text
    assert table1.all("th")[0]["rowspan"] == "3"
    assert "lang" in parsed.all("html")[0]
    assert any(meta.get("name") == "viewport" for meta in parsed.all("meta"))


def test_a_claim_counts_once_by_its_least_favourable_verdict(page):
    counts = Page(section(page[1], '<ul class="counts">', "</ul>")).text
    assert counts.replace("</ul>", "") == "1 ✓ holds 1 ✗ does not hold 0 ? undecided 15 – not run here"
    assert "Of 17 claims" in page[0].text


def test_each_figure_is_inside_the_page_and_described(page, runs):
    images = page[0].all("img")
    prefix = "data:image/webp;base64,"
    assert all(image["src"].startswith(prefix) and image["loading"] == "lazy" for image in images)
    paths = sorted(runs.glob("*/*.png"))
    assert len(images) == len(paths) == 3
    for image, path in zip(images, paths, strict=True):
        with (
            Image.open(io.BytesIO(base64.b64decode(image["src"].removeprefix(prefix), validate=True))) as shown,
            Image.open(path) as stored,
        ):
            assert shown.size == stored.size == (int(image["width"]), int(image["height"]))
            apart = np.abs(np.asarray(shown, int) - np.asarray(stored.convert("RGB"), int))
            assert apart.max() <= 16  # of 255: few colours, but those
    assert len({image["alt"] for image in images}) == 3
    assert any("curves.png" in image["alt"] and "table 1 #2?" in image["alt"] for image in images)


def test_effects_are_drawn_and_what_stands_behind_them_is_folded_up(page):
    row = section(page[1], "digits, 3 epochs, 2 seeds</td>", "</tr>")
    cell = section(row, '<td data-label="Ours">', "</td>")
    drawings = [Page(f"<svg{drawing}</svg>") for drawing in re.findall(r"<svg(.*?)</svg>", cell, re.DOTALL)]
    lines = [{line["class"]: (float(line["x1"]), float(line["x2"])) for line in d.all("line")} for d in drawings]
    assert lines == BARS
    assert re.findall(r"<b>(.*?)</b>", cell) == [
        "+2.00 points", "+0.50 points", "every pair lost", "-4.00 dimensions",
    ]  # fmt: skip
    assert "+0.1 points" in section(cell, "<details>", "</details>")


def test_the_stored_page_is_small():
    assert (SCRIPT.parent.parent / "results" / "report.html").stat().st_size < KIBIBYTES * 1024


def test_nothing_is_loaded_from_anywhere(page):
    parsed, text = page
    assert not {tag for tag, _ in parsed.tags} & {"script", "iframe", "object", "embed", "base", "form"}
    for _, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "poster", "data", "background"):
            address = attributes.get(name) or ""
            assert urllib.parse.urlsplit(address).scheme in ("", "data") and not address.startswith("//")
    style = section(text, "<style>", "</style>")
    assert "url(" not in style and "@import" not in style


def test_links_lead_to_the_records_and_to_places_on_the_page(page, runs):
    parsed = page[0]
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for attributes in parsed.all("a")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    files = [runs / urllib.parse.unquote(link) for link in links if not link.startswith("#")]
    made = [path for name in ("manifest.json", "metrics.jsonl", "*.png") for path in runs.glob(f"*/{name}")]
    assert sorted(files) == sorted(made)
    for _, attributes in parsed.tags:
        assert attributes.get("aria-labelledby", ids[0]) in ids


def test_each_run_says_how_it_was_made(page, runs):
    for folder in runs.iterdir():
        if folder.is_dir():
            manifest = records.read(folder)[0]
            anchor = "run-" + urllib.parse.quote(folder.name)
            said = Page(
                "<section>" + section(page[1], f'<section class="run" id="{anchor}" ', "</section>") + "</section>"
            )
            expected = [folder.name, manifest["command"], manifest["started"], f"jax {manifest['versions']['jax']}"]
            expected += [manifest["processor"]["name"], manifest["git_revision"] or "not known"]
            for word in [*expected, "1,295 train, 143 val, 359 test images"]:
                assert word in said.text


def test_a_runs_table_is_a_table(page):
    table = section(page[1], 'aria-label="Table of table 1 #2?"', "</div>")
    assert "<th>rule</th>" in table and re.search(r"<td[^>]*right[^>]*>97.77 ± 0.09</td>", table)
    assert "<h4>digits: accuracy</h4>" in page[1]
    assert "digits, SAM, seed 3 diverged at epoch 7" in page[0].text


def test_what_a_run_says_stays_text(page):
    parsed, text = page
    assert "<script" not in text and '<img src="https' not in text
    assert parsed.text.count("alert('x')") == 2  # in the verdict's setting and in table.md
    assert html.escape("<script>alert(", quote=False) in text


def test_another_folder_and_another_page(runs, page, tmp_path):
    """Given by position or by flag; links lead from the page's own folder; the same runs give the same page."""
    out = tmp_path / "pages" / "mine.html"
    for given in (str(runs), f"--runs_dir={runs}"):
        done = report(given, f"--out={out}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        links = [link["href"] for link in Page(out.read_text(encoding="utf-8")).all("a") if link["href"][0] != "#"]
        assert len(links) == 9 and all((out.parent / urllib.parse.unquote(link)).is_file() for link in links)
        assert [path.name for path in out.parent.iterdir()] == ["mine.html"]
    assert report(str(runs), cwd=tmp_path).returncode == 0
    assert (runs / "report.html").read_text(encoding="utf-8") == page[1]


def test_a_run_that_was_continued_names_both_machines(tmp_path):
    folder = tmp_path / "results" / "twice"
    make_run(folder)
    manifest = records.read(folder)[0]
    device = {"platform": "gpu", "kind": "NVIDIA H100", "count": 1}
    later = {**manifest, "started": "2031-01-02T03:04:05Z", "device": device, "git_revision": None}
    records.write_manifest(folder, {**manifest, "continued": [later]})
    assert report(cwd=tmp_path).returncode == 0
    text = Page((tmp_path / "results" / "report.html").read_text(encoding="utf-8")).text
    assert f"{manifest['started']}, then 2031-01-02T03:04:05Z" in text
    assert f"then 1 × NVIDIA H100, {manifest['processor']['name']}" in text
    assert text.count(manifest["command"]) == 1


def damage_verdicts(folder):
    (folder / "verdicts.json").write_text('[{"claim": "table9"}]')


def damage_manifest(folder):
    (folder / "manifest.json").write_text('{"command": "experiments/')


def empty_manifest(folder):
    (folder / "manifest.json").write_text('{"kind": "experiment", "cells": {}, "data": {}}')


def cut_figure(folder):
    (folder / "curves.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (damage_verdicts, "verdicts.json holds no verdicts: "),
        (damage_manifest, "/manifest.json: expected JSON, found a damaged file"),
        (empty_manifest, " cannot be read as a run (KeyError: "),
        (cut_figure, "curves.png is no whole PNG image"),
        (lambda folder: (folder / "metrics.jsonl").write_text("3;\n"), "/metrics.jsonl, line 1: expected JSON"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "/manifest.json: expected a JSON object"),
        (lambda folder: (folder / "manifest.json").unlink(), " has no manifest.json: expected the folder of a run"),
    ],
)
def test_a_damaged_run_is_named_and_the_old_page_stays(damage, line, tmp_path):
    root = tmp_path / "results"
    make_run(root / "good")
    make_run(root / "bad")
    (root / "report.html").write_text("the old page")
    damage(root / "bad")
    before = sorted(tmp_path.rglob("*"))
    done = report(cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"report.py: {pathlib.Path('results', 'bad')}") and line in done.stderr
    assert sorted(tmp_path.rglob("*")) == before and (root / "report.html").read_text() == "the old page"


WRONG = [
    ((), "'results'"),
    (("empty",), "empty has no run folders in it, expected some that experiments made"),
    (("--runs_dir=notes.txt",), "'notes.txt'"),
    (("empty", "more"), "expected one folder of runs, got empty more"),
    (("empty", "--out=empty"), "--out=empty is a folder, expected the name of a page"),
]


@pytest.mark.parametrize(("arguments", "line"), WRONG)
def test_a_wrong_folder_gets_one_line_and_makes_nothing(arguments, line, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("precious")
    done = report(*arguments, cwd=tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("report.py: ") and line in done.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "notes.txt"]
