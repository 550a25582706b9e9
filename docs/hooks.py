"""What mkdocs does beyond Markdown: files that pages link to, mathematics as MathML, flags that do not break.

A page of docs/ links to a file outside docs/ by its place in the repository, `../results/table1/table.md`, so that the
link is right wherever the repository is shown. For the site such files are taken along: figures and reports as they
are, Markdown as a page, anything else as a page that shows its text. Nothing is copied into docs/.
"""

import html
import pathlib
import posixpath
import re

from latex2mathml.converter import convert
from mkdocs.structure.files import File, InclusionLevel

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r"(!?\[[^\]\n]*\]\()([^)\s#]+)(#[^)\s]*)?(\))")
HREF = re.compile(r'(?:href|src)="([^"#:]+)"')
AS_THEY_ARE = (".png", ".html", ".json", ".jsonl", ".csv", ".npz")
# What the repository's front page says has a page of its own here.
ELSEWHERE = {"README.md": "docs/index.md"}
CODE = re.compile(r"<code>[^<]*</code>")
FLAG = re.compile(r"--[a-z]\w*")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files, config):
    """Adds the files outside docs/ that pages link to, and those that these link to in turn."""
    left = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    known = set(left)
    while left:
        for target in _targets(left.pop()):
            if target not in known:
                known.add(target)
                files.append(_file(target, config))
                if target.endswith((".md", ".html")):
                    left.append(target)
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links that leave docs/ into links to what was taken along."""
    here = _place(page.file.src_uri)

    def link(match):
        opening, path, anchor, closing = match.groups()
        target, anchor = _target(here, path, anchor or "")
        if target is None:
            return match.group(0)
        if not (ROOT / target).is_file():
            missing = here.startswith("docs/") and not (ROOT / target).exists()
            return match.group(0) if missing else opening.lstrip("!")[1:-2]  # a folder: its name alone
        uri = posixpath.relpath(_uri(target), posixpath.dirname(page.file.src_uri))
        return f"{opening}{uri}{anchor}{closing}"

    return LINK.sub(link, markdown)


def on_page_content(content, page, config, files):
    """Formulas as MathML, which browsers show without a script; flags of commands in one piece."""

    def mathml(match):
        kind, formula = match.groups()
        formula, *tags = re.split(r"\\tag\{(\d+)\}", html.unescape(formula))
        shown = convert(formula, display="block" if kind == "div" else "inline")
        shown = shown.replace('stretchy="true">&#x000AF;', 'stretchy="false">&#x000AF;')  # the bar of one letter
        shown = shown.replace("<mi>&#x02032;</mi>", "<mo>&#x02032;</mo>")  # a prime
        number = f'<span class="number">({tags[0]})</span>' if tags else ""
        return f'<div class="formula">{shown}{number}</div>' if kind == "div" else shown

    def whole_flags(match):
        return FLAG.sub(r'<span class="flag">\g<0></span>', match.group(0))

    return CODE.sub(whole_flags, FORMULA.sub(mathml, content))


def _place(uri):
    """Where a page is in the repository."""
    if uri.startswith("repository/"):
        return uri.removeprefix("repository/").removesuffix(".txt.md")
    return f"docs/{uri}"


def _uri(target):
    """Where a file of the repository is in the site."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    shown = target.endswith((".md", *AS_THEY_ARE))
    return f"repository/{target}" if shown else f"repository/{target}.txt.md"


def _target(here, path, anchor):
    """(the file of the repository that a link in the file `here` means, its anchor); (None, ...) for other links."""
    if "://" in path or path.startswith(("/", "mailto:")):
        return None, anchor
    target = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
    target, _, moved = ELSEWHERE.get(target + anchor, ELSEWHERE.get(target, target + anchor)).partition("#")
    if (ROOT / target / "table.md").is_file():
        target = f"{target}/table.md"
    return target, f"#{moved}" if moved else ""


def _targets(here):
    """The files outside docs/ that a page links to."""
    text = (ROOT / here).read_text(encoding="utf-8")
    paths = HREF.findall(text) if here.endswith(".html") else [path for _, path, _, _ in LINK.findall(text)]
    found = (_target(here, path, "")[0] for path in paths)
    return [t for t in found if t and not t.startswith("docs/") and (ROOT / t).is_file()]


def _file(target, config):
    path, uri = ROOT / target, _uri(target)
    if uri == f"repository/{target}" and not target.endswith(".md"):
        return File.generated(config, uri, abs_src_path=str(path))
    text = path.read_text(encoding="utf-8")
    if not target.endswith(".md"):
        text = f"# {target}\n\n```{path.suffix.removeprefix('.')}\n{text}```\n"
    elif not text.startswith("# "):
        text = f"# {target}\n\n{text}"
    exclude = "---\nsearch:\n  exclude: true\n---\n\n"
    return File.generated(config, uri, content=exclude + text, inclusion=InclusionLevel.NOT_IN_NAV)
