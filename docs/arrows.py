"""The pictures of the rules' pages: which arrows a rule has between two hidden layers, and which of them learn.

`python docs/tables.py` writes them beside its tables. What is there and what is plastic is read from the rules; WORDS
says what a rule sends down where it is not W̄, and from where.
"""

import jax

from sam_jax.circuit import PATHWAYS
from sam_jax.rule import Rule
from sam_jax.rules import compatibility_table

COLOURS = {"w": "#0072b2", "w_bar": "#d55e00", "v": "#00805c", "v_bar": "#a23b78", "grey": "#555555"}
W_BAR, V_BAR = "W\u0304", "V\u0304"
# What stands beside the arrows down; what the box at the top right holds.
WORDS = {
    "sgd": ("Wᵀ, of W", "error ε"),
    "wm": (f"{W_BAR}, of noise", "error ε"),
    "dfa": ("B", "error ε"),
    "dkp": ("B", "error ε"),
    "drtp": ("B", "target t"),
    "usf": ("± s, signs of Wᵀ", "error ε"),
    "frsf": ("± |M|, signs of Wᵀ", "error ε"),
    "brsf": ("± |M|, signs of Wᵀ", "error ε"),
    "node_perturbation": ("one number", "change of F"),
}
UP, DOWN, WIDE, HIGH = 100, 330, 120, 34
HIDDEN = ("hidden 2", "hidden 1")
ROWS = {"output": 24, "hidden 2": 104, "hidden 1": 184, "input": 264}


def picture(rule: Rule) -> str:
    """An SVG of a rule's circuit: solid arrows are plastic, dashed ones are not."""
    there, plastic = facts(rule)
    beside, top = WORDS.get(rule.name, (W_BAR, "error ε"))
    parts = [box(UP, y, name.replace("output", "output ŷ").replace("input", "input x")) for name, y in ROWS.items()]
    parts += [box(DOWN, ROWS["output"], top)]
    own = rule.name != "node_perturbation"  # the others have downstream neurons
    if own:
        parts += [box(DOWN, ROWS[name], name) for name in ("hidden 2", "hidden 1")]
    for below, above in (("input", "hidden 1"), ("hidden 1", "hidden 2"), ("hidden 2", "output")):
        start, end = (UP, ROWS[below]), (UP, ROWS[above] + HIGH)
        parts += [line(start, end, "w", True), words(UP - 12, ROWS[below] - 18, "W", "end")]
    if rule.name != "drtp":
        parts += [line((UP + WIDE / 2, middle("output")), (DOWN - WIDE / 2, middle("output")), "grey", False)]
    solid = "w_bar" in plastic
    if not own:
        parts += [line((DOWN - 20, ROWS["output"] + HIGH), (UP + WIDE / 2, middle(n)), "grey", False) for n in HIDDEN]
        parts += [words(DOWN - 60, ROWS["hidden 2"] + 10, beside, "start")]
    elif direct(rule):
        parts += [line((DOWN, ROWS["output"] + HIGH), (DOWN, ROWS["hidden 2"]), "w_bar", solid)]
        parts += [around(ROWS["output"], ROWS["hidden 1"], solid)]
        parts += [words(DOWN + 12, ROWS["hidden 2"] - 18, beside, "start"), words(452, 140, beside, "start")]
    else:
        for above, below in (("output", "hidden 2"), ("hidden 2", "hidden 1")):
            parts += [line((DOWN, ROWS[above] + HIGH), (DOWN, ROWS[below]), "w_bar", solid)]
            parts += [words(DOWN + 12, ROWS[below] - 18, beside, "start")]
    for name in HIDDEN if own else ():
        left, right, y = UP + WIDE / 2, DOWN - WIDE / 2, middle(name)
        if "v" in there:
            parts += [line((left, y - 8), (right, y - 8), "v", "v" in plastic), words(215, y - 13, "V", "middle")]
            parts += [line((right, y + 9), (left, y + 9), "v_bar", "v_bar" in plastic)]
            parts += [words(215, y + 26, V_BAR, "middle")]
        else:
            parts += [line((right, y), (left, y), "grey", False), words(215, y - 6, "one to one", "middle")]
    body = "\n".join(parts)
    named = ", ".join(f"{p} {'plastic' if p in plastic else 'not plastic'}" for p in PATHWAYS if p in there)
    heads = "\n".join(
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="11" markerHeight="11" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
        for name, colour in COLOURS.items()
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 520 340" width="520" height="340" role="img" '
        f'font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif" font-size="13" fill="#1a1a1a">\n'
        f"<title>{rule.title}: {named}</title>\n<defs>\n{heads}\n</defs>\n"
        f'<rect x="1" y="1" width="518" height="338" rx="10" fill="#ffffff" stroke="#999999"/>\n{body}\n'
        f"{words(260, 326, 'solid: plastic · dashed: not plastic', 'middle')}\n</svg>\n"
    )


def facts(rule: Rule) -> tuple[list[str], list[str]]:
    """The pathways that are there, and those that are plastic."""
    ticks = list(compatibility_table()[rule.name].values())
    there, plastic = (dict(zip(PATHWAYS, half, strict=True)) for half in (ticks[:4], ticks[4:]))
    return [p for p in PATHWAYS if there[p]], [p for p in PATHWAYS if plastic[p]]


def direct(rule: Rule) -> bool:
    """Whether every W̄ comes from the output."""
    circuit = rule((7, 6, 5, 3))
    synapses = jax.eval_shape(lambda: rule.init(circuit, jax.random.key(0), rule.settle())).synapses
    return bool(synapses.w_bar) and all(matrix.shape[1] == 3 for matrix in synapses.w_bar)


def middle(name: str) -> float:
    return ROWS[name] + HIGH / 2


def box(x: float, y: float, name: str) -> str:
    return (
        f'<rect x="{x - WIDE / 2:g}" y="{y:g}" width="{WIDE}" height="{HIGH}" rx="7" fill="#f2f2f2" stroke="#444444"/>'
        f'<text x="{x:g}" y="{y + 22:g}" text-anchor="middle">{name}</text>'
    )


def look(pathway: str, solid: bool) -> str:
    """The line of a pathway, and its head."""
    width, dashes = (2 if pathway == "grey" else 3), ("" if solid else ' stroke-dasharray="5 4"')
    return f'stroke="{COLOURS[pathway]}" stroke-width="{width}"{dashes} fill="none" marker-end="url(#{pathway})"'


def line(start: tuple[float, float], end: tuple[float, float], pathway: str, solid: bool) -> str:
    (x, y), (u, v) = start, end
    return f'<path d="M{x:g} {y:g}L{u:g} {v:g}" {look(pathway, solid)}/>'


def around(above: float, below: float, solid: bool) -> str:
    """From the top box to the lowest one, on its right."""
    x, y, v = DOWN + WIDE / 2, above + HIGH / 2, below + HIGH / 2
    return f'<path d="M{x:g} {y:g}C{x + 70:g} {y:g} {x + 70:g} {v:g} {x:g} {v:g}" {look("w_bar", solid)}/>'


def words(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{text}</text>'
