"""A page of verdicts: what the paper claims, what our runs say, and every figure and table of them.

    python experiments/report.py                          # results/report.html, of the runs in results/
    python experiments/report.py runs --out=mine.html     # of another folder of runs

The page is one HTML file that loads nothing; it links to the records of the runs: move it with them. Figures in it
are reduced to a few dozen colours, and link to the files as they are. Takes seconds, and prints the verdicts of each
claim, counted.
"""

import base64
import collections
import functools
import io
import os
import pathlib
import sys
import urllib.parse
from typing import NamedTuple

import jinja2
from absl import flags
from markdown_it import MarkdownIt
from markupsafe import Markup, escape
from PIL import Image
from sam_jax.experiments.paper import CLAIMS

from sam_jax.experiments import verdicts
from sam_jax.lab import compare, figures, records, tables
from sam_jax.lab.compare import Effect

COLOURS = 16  # of a figure, beside those that all have
SYMBOLS = {"holds": "✓", "does not hold": "✗", "undecided": "?", verdicts.NOT_RUN: "–"}


class Figure(NamedTuple):
    """A figure for the page: the file's name, the image as a data URI, and its size in pixels."""

    name: str
    uri: str
    width: int
    height: int


class Bar(NamedTuple):
    """An effect drawn on a line from 0 to 100: where its interval, its mean and no difference are."""

    name: str
    number: str
    low: float | None
    high: float | None
    mean: float | None
    zero: float


class Run(NamedTuple):
    """One run's folder, as the page shows it."""

    name: str
    facts: dict[str, str]  # command, machine, data and so on, in words
    verdicts: list[verdicts.Verdict]
    figures: list[Figure]
    tables: list[Markup]  # table.md, and whatever else the run wrote in Markdown, as HTML
    address: str  # of the folder, relative to the page


def read_run(folder: pathlib.Path, out: pathlib.Path) -> Run:
    """One run; ValueError or OSError naming the folder where something in it cannot be read."""
    manifest, rows = records.read(folder)
    try:
        facts = describe(manifest) | {"Rows": f"{len(rows):,}"}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder} cannot be read as a run ({type(error).__name__}: {error})") from None
    return Run(
        name=folder.name,
        facts=facts,
        verdicts=verdicts.read(folder),
        figures=[embed(path) for path in sorted(folder.glob("*.png"))],
        tables=[render(path.read_text(encoding="utf-8"), folder.name) for path in sorted(folder.glob("*.md"))],
        address=urllib.parse.quote(os.path.relpath(folder, out.parent)),
    )


def describe(manifest: dict) -> dict[str, str]:
    """What the page says of a manifest; a run that was continued names all its commands and machines."""
    each = functools.partial(tables.in_turn, manifest)

    def images(sizes):
        return ", ".join(f"{size:,} {split}" for split, size in sizes.items()) + " images"

    return {
        "Command": each(lambda stint: stint["command"]),
        "Started": each(lambda stint: stint["started"]),
        "Machine": each(tables.machine),
        "Versions": each(lambda stint: ", ".join(f"{name} {v}" for name, v in stint["versions"].items() if v)),
        "Git revision": each(lambda stint: stint["git_revision"] or "not known"),
        **{f"Data: {name}": images(known["sizes"]) for name, known in manifest.get("data", {}).items()},
    }


def embed(path: pathlib.Path) -> Figure:
    """A figure in few colours, without loss otherwise: a fifth of the file's size, and lines stay sharp."""
    file = path.read_bytes()
    if not (file.startswith(b"\x89PNG\r\n\x1a\n") and file.endswith(b"IEND\xaeB`\x82")):
        raise ValueError(f"{path} is no whole PNG image")
    with Image.open(path) as whole:
        image, shades = whole.convert("RGB"), whole.mode == "RGB"  # a map's colours are its own alone
    held = image.quantize(COLOURS + len(figures.PALETTE), dither=Image.Dither.NONE) if shades else palette(image)
    reduced = image.quantize(palette=held, dither=Image.Dither.NONE).convert("RGB")
    small = io.BytesIO()
    reduced.save(small, "WEBP", lossless=True, method=6, quality=100)  # the most effort, not the least loss
    return Figure(path.name, "data:image/webp;base64," + base64.b64encode(small.getvalue()).decode(), *reduced.size)


def palette(image: Image.Image) -> Image.Image:
    """White, the colours that our figures draw with, which thin lines alone may have, and the image's own, fewer."""
    own = image.quantize(COLOURS, dither=Image.Dither.NONE).getpalette()[: 3 * COLOURS]
    fixed = "".join(colour.strip("#") for colour in ("#FFFFFF", *figures.PALETTE))
    held = Image.new("P", (1, 1))
    held.putpalette([*bytes.fromhex(fixed), *(255 if level > 248 else level for level in own)])
    return held


def bars(effects: tuple[Effect, ...]) -> list[Bar]:
    """The effects of one verdict, those of one unit on one scale, which has no difference in it."""
    return [_bar(effect, [other for other in effects if other.unit == effect.unit]) for effect in effects]


def _bar(effect, alike):
    ends = [0.0]
    for other in alike:
        ends += [end for end in other.paired[:3] if end is not None]
    least, width = min(ends), (max(ends) - min(ends)) or 1.0

    def place(value):
        return None if value is None else round(5 + 90 * (value - least) / width, 1)

    difference, low, high = effect.paired[:3]
    number = "every pair lost" if difference is None else f"{difference:+z.2f} {effect.unit}".rstrip()
    return Bar(effect.name, number, place(low), place(high), place(difference), place(0.0))


def render(markdown: str, name: str) -> Markup:
    """Markdown's paragraphs, lists and pipe tables as HTML; HTML, images and links in it stay plain text."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link", "autolink"])
    opened = f'<div class="scroll" tabindex="0" role="region" aria-label="Table of {escape(name)}"><table>\n'
    parser.add_render_rule("table_open", lambda self, tokens, i, options, env: opened)
    parser.add_render_rule("table_close", lambda self, tokens, i, options, env: "</table></div>\n")
    tokens = parser.parse(markdown)
    for token in tokens:
        if token.tag in ("h1", "h2", "h3"):  # the run's own heading is an h3
            token.tag = "h4"
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def overall_outcome(found: list[tuple[verdicts.Verdict, Run]]) -> str:
    """A claim counts by its least favourable verdict."""
    return compare.together([verdict.outcome for verdict, _ in found]) if found else verdicts.NOT_RUN


def page(runs: list[Run]) -> str:
    """The whole page, made from nothing but the runs."""
    pairs = [(verdict, run) for run in runs for verdict in run.verdicts]
    found = {key: [(verdict, run) for verdict, run in pairs if verdict.claim == key] for key in CLAIMS}
    counts = collections.Counter(map(overall_outcome, found.values()))
    loader = jinja2.FileSystemLoader(pathlib.Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters["bars"] = bars
    template = environment.get_template("report.html.jinja")
    return template.render(claims=CLAIMS, found=found, counts=counts, symbols=SYMBOLS, runs=runs)


def main(argv):
    values = flags.FlagValues()
    folder = "folder of run folders; may be given without the flag's name"
    flags.DEFINE_string("runs_dir", "results", folder, flag_values=values)
    page_file = "the page (default: report.html in runs_dir); one that is there is replaced"
    flags.DEFINE_string("out", None, page_file, flag_values=values)
    flags.DEFINE_bool("help", False, "show this and stop", flag_values=values)
    try:
        _, *given = values(argv)
    except flags.Error as error:
        sys.exit(f"report.py: {error}")
    if values.help:
        print(f"{__doc__}\n{values.get_help()}")
        return
    if len(given) > 1:
        sys.exit(f"report.py: expected one folder of runs, got {' '.join(given)}")
    runs_dir = pathlib.Path(os.path.expanduser((given or [values.runs_dir])[0]))
    out = pathlib.Path(os.path.expanduser(values.out)) if values.out else runs_dir / "report.html"
    try:
        if out.is_dir():
            raise ValueError(f"--out={out} is a folder, expected the name of a page")
        folders = sorted(path for path in runs_dir.iterdir() if path.is_dir() and not path.name.startswith("."))
        if not folders:
            raise ValueError(f"{runs_dir} has no run folders in it, expected some that experiments made")
        text = page([read_run(folder, out) for folder in folders])
        out.parent.mkdir(parents=True, exist_ok=True)
        records.replace_whole(out, text)
    except (ValueError, OSError) as error:
        sys.exit(f"report.py: {error}")
    print(f"{verdicts.markdown(folders)}\n{out}")


if __name__ == "__main__":
    main(sys.argv)
