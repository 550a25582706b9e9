"""The tables of these pages that are computed: the rules' facts, the verdicts, what is stored in results/.

    python docs/tables.py    # writes each between its page's `<!-- computed -->` and `<!-- end -->`, and the pictures

`tests/test_docs.py` says which page is behind.
"""

import functools
import pathlib
import re

import arrows

from sam_jax.circuit import PATHWAYS, SYMBOLS
from sam_jax.experiments import verdicts
from sam_jax.lab.results import Results
from sam_jax.lab.tables import grid, spread, summarise
from sam_jax.rule import MEANINGS, Rule
from sam_jax.rules import RULES, compatibility_table

DOCS = pathlib.Path(__file__).resolve().parent
RESULTS = DOCS.parent / "results"
PART = re.compile(r"<!-- computed -->\n(.*?)<!-- end -->\n", re.DOTALL)
COMPARED = ("twelve_digits", "table1")
table = functools.partial(grid, numbers=False)
OWN_MEANINGS = {
    "mirror_noise_std": "σ, standard deviation of the noise",
    "mirror_rate": "η_B, rate of a mirror step",
    "mirror_decay": "λ, decay of a mirror step",
    "mirror_steps_before": "mirror steps before training",
    "mirror_steps_after": "mirror steps after each update",
}


@functools.cache
def read(folder: pathlib.Path) -> Results:
    """A stored run, read once."""
    return Results.read(folder)


def ticks(name: str) -> list[str]:
    """Whether each of the eight criteria holds of a rule."""
    return ["✓" if tick else "✗" for tick in compatibility_table()[name].values()]


def facts(rule: Rule) -> str:
    """A rule's picture and source, its pathways, and its numbers with their defaults and what a search tries."""
    there, plastic = ticks(rule.name)[:4], ticks(rule.name)[4:]
    pathways = table(["", *(f"{SYMBOLS[p]} `{p}`" for p in PATHWAYS)], [["is there", *there], ["is plastic", *plastic]])
    rows = []
    for name, value in rule.numbers.items():
        rows.append([f"`{name}`", f"{value:g}", MEANINGS.get(name) or OWN_MEANINGS[name], searched(rule, name)])
    for name, base in rule.ties.items():
        rows.append([f"`{name}`", f"as `{base}`", MEANINGS[name], ""])
    numbers = table(["number", "default", "meaning", "a search tries"], rows)
    picture = f"![The arrows of {rule.title}]({rule.name}.svg)"
    return f"{picture}\n\nSource: {rule.source}.\n\n{pathways}\n{numbers}\nMeasured:\n\n{measured(rule)}"


def measured(rule: Rule) -> str:
    """A rule's accuracies in the stored runs that compare rules."""
    rows = []
    for folder in (RESULTS / name for name in COMPARED):
        results = read(folder)
        link = f"[`{folder.name}`](../../results/{folder.name}/table.md)"
        for one in summarise(results):
            if one["arm"] == rule.name:
                ends = (spread(one[f"{split}_mean"], one[f"{split}_sd"]) for split in ("test", "train"))
                rows.append([one["dataset"], str(one["epochs"]), str(one["runs"]), *ends, link])
    return table(["data", "epochs", "seeds", "test %", "train %", "stored run"], rows)


def searched(rule: Rule, name: str) -> str:
    """`0.05 to 0.8`, or as a ratio `1e-05 to 0.003 × rate_w`."""
    for searched_name, (low, high) in rule.space.items():
        part, _, base = searched_name.partition("/")
        if part == name:
            return f"{low:g} to {high:g}" + (f" × `{base}`" if base else "")
    return ""


def overview() -> str:
    """Every rule, and what each pathway is: Table 2 by pathway."""
    rows = []
    for rule in RULES.values():
        there, plastic = ticks(rule.name)[:4], ticks(rule.name)[4:]
        states = [state(*pair) for pair in zip(there, plastic, strict=True)]
        rows.append([f"[{rule.title}]({rule.name}.md)", f"`{rule.name}`", *states])
    return table(["rule", "name", *(SYMBOLS[p] for p in PATHWAYS)], rows)


def state(there: str, plastic: str) -> str:
    """One word for a pathway."""
    if plastic == "✓":
        return "plastic"
    return "fixed" if there == "✓" else "–"


def runs() -> list[pathlib.Path]:
    """The stored runs; the search is none."""
    folders = sorted(path.parent for path in RESULTS.glob("*/manifest.json"))
    return [folder for folder in folders if not (folder / "search.md").exists()]


def command(folder: pathlib.Path) -> str:
    """What was typed, without its folders; of several commands the first, and what flags the last had otherwise."""
    manifest = read(folder).manifest
    stints = [
        re.sub(r" --(data_dir|out_dir|remake)=\S+", "", one["command"])
        for one in (manifest, *manifest.get("continued", []))
    ]
    other = [word for word in stints[-1].split() if word not in stints[0].split()]
    return f"`{stints[0]}`" + (f", at last with `{' '.join(other)}`" if other else "")


def training_time(folder: pathlib.Path) -> str:
    """Minutes and seconds that the stored runs were trained for."""
    seconds = round(sum(row.get("seconds") or 0 for row in read(folder).rows))
    return f"{seconds // 60}:{seconds % 60:02d}"


def stored() -> str:
    """What is in results/: the command and the time that training took."""
    rows = []
    for folder in sorted(path.parent for path in RESULTS.glob("*/manifest.json")):
        page = "search.md" if folder not in runs() else "table.md"
        link = f"[`{folder.name}`](../results/{folder.name}/{page})"
        rows.append([link, command(folder), training_time(folder)])
    return table(["folder of results/", "command", "training, min:s"], rows)


def computed() -> dict[str, list[str]]:
    """The computed parts of each page, in their order."""
    pages = {f"rules/{name}.md": [facts(rule)] for name, rule in RULES.items()}
    pages["rules/overview.md"] = [overview()]
    pages["reproduce.md"] = [verdicts.markdown(runs()).rstrip() + "\n", stored()]
    return pages


def main() -> None:
    for name, rule in RULES.items():
        (DOCS / "rules" / f"{name}.svg").write_text(arrows.picture(rule), encoding="utf-8")
    for name, parts in computed().items():
        path, left = DOCS / name, iter(parts)
        text = path.read_text(encoding="utf-8")
        text = PART.sub(lambda _, left=left: f"<!-- computed -->\n{next(left)}<!-- end -->\n", text)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
