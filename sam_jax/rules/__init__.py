"""The rules that come with sam_jax: a file for each family, each as a user would write it.

`RULES` has them by name, `TABLE1` those of the paper's Table 1, and `compatibility_table` is its Table 2.
"""

import difflib
import importlib.util
import os
import pathlib
import sys
import traceback

import jax

from sam_jax.circuit import PATHWAYS
from sam_jax.rule import Rule
from sam_jax.rules.direct import dfa, dkp, drtp
from sam_jax.rules.mirror import wm
from sam_jax.rules.motif import fa, kp, sam, sgd
from sam_jax.rules.perturbation import node_perturbation
from sam_jax.rules.signs import brsf, frsf, usf

TABLE1 = tuple(rule.name for rule in (sgd, fa, wm, kp, sam))
RULES = {rule.name: rule for rule in (sgd, fa, wm, kp, sam, dfa, dkp, drtp, usf, frsf, brsf, node_perturbation)}
CRITERIA = tuple(f"{kind} {arrow}" for kind in ("connectivity", "plasticity") for arrow in ("u→u", "d→d", "u→d", "d→u"))


def find(name: str) -> Rule:
    """A rule by its name in RULES, or as PATH.py:NAME, the rule that a file of one's own calls NAME.

    The file is imported, that is, run: name only files that you trust.

    Raises:
      ValueError: there is no such rule, or NAME is none, or the file ends in an error.
      FileNotFoundError: there is no such file.

    >>> find("kp").title
    'Kolen–Pollack'
    """
    if name in RULES:
        return RULES[name]
    path, colon, attribute = name.rpartition(":")
    if not colon:
        near = difflib.get_close_matches(name, RULES, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"rule {name!r} is unknown{hint}, expected one of {', '.join(RULES)}, or PATH.py:NAME")
    file = pathlib.Path(os.path.expanduser(path)).resolve()
    name, path = (" ".join(text.split()) for text in (name, path))  # as they are shown
    if not file.is_file():
        raise FileNotFoundError(f"rule {name}: there is no file {path}: expected PATH.py:NAME")
    module = _module(file)
    rule = getattr(module, attribute, None)
    if not isinstance(rule, Rule):
        own = [key for key, value in vars(module).items() if isinstance(value, Rule) and value not in RULES.values()]
        known = (
            f"it has {', '.join(own)}" if own else "it has no rule: a rule is made by sj.Rule(...) or RULE.replace(...)"
        )
        raise ValueError(f"rule {name}: {path} has no rule called {attribute!r}; {known}")
    if rule.name in RULES and RULES[rule.name] != rule:
        raise ValueError(f"rule {name} is named {rule.name!r}, which is a rule of sam_jax: give it a name of its own")
    return rule


def _module(file: pathlib.Path):
    """The file as a module, once in a process: its functions, and so its rules, stay equal to themselves."""
    key = f"sam_jax_rules:{file}"
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, file)
        if spec is None or spec.loader is None:
            raise ValueError(f"{file} is no Python file: expected PATH.py:NAME")
        module = importlib.util.module_from_spec(spec)
        sys.modules[key] = module
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[key]
            if not isinstance(error, Exception):
                raise
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
            line = f", line {lines[-1]}" if lines else ""
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(f"{file}{line} cannot be imported: {what}") from error
    return sys.modules[key]


def compatibility_table(rules: tuple[Rule, ...] = tuple(RULES.values())) -> dict[str, dict[str, bool]]:
    """The paper's Table 2, computed for each rule: `table[rule][criterion]`, criteria as in CRITERIA.

    A pathway exists where the rule's `init` makes a matrix for it, a one-to-one or tied pathway being
    none; it is plastic where that matrix learns, by `local_update` or in `after`.

    >>> import sam_jax as sj
    >>> table = sj.compatibility_table((sj.sgd, sj.sam))
    >>> [criterion for criterion, met in table["sgd"].items() if met]
    ['connectivity u→u', 'plasticity u→u']
    >>> all(table["sam"].values())
    True
    """
    table = {}
    for rule in rules:
        circuit = rule(widths=(2, 2, 2))
        start = jax.eval_shape(lambda key, rule=rule, circuit=circuit: rule.init(circuit, key, rule.settle()), KEY)
        stored = [bool(getattr(start.synapses, pathway)) for pathway in PATHWAYS]
        plastic = [pathway in circuit.plastic + rule.learned_after for pathway in PATHWAYS]
        table[rule.name] = dict(zip(CRITERIA, stored + plastic, strict=True))
    return table


KEY = jax.eval_shape(lambda: jax.random.key(0))

__all__ = [
    "CRITERIA",
    "RULES",
    "TABLE1",
    "brsf",
    "compatibility_table",
    "dfa",
    "dkp",
    "drtp",
    "fa",
    "find",
    "frsf",
    "kp",
    "node_perturbation",
    "sam",
    "sgd",
    "usf",
    "wm",
]
