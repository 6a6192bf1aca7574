"""The families of methods, by which plots are coloured, and those of results from before families were recorded."""

from __future__ import annotations

import re
from collections.abc import Iterable

from prunebench.records.results import FAMILY, Result

OTHER = "other"
FAMILIES = (
    "at initialization",
    "rewinding",
    "during training",
    "after training",
    "layer by layer",
    "structured",
    "learned masks",
    OTHER,
    "random pruning",
)
"""In the order of the colours of the style sheet, which differ for any colour vision; a family that is not among them
has the colour of OTHER."""
OLDER = {
    "control": "dense",
    "at initialization": "grasp magnitude-init snip synflow transfer",
    "rewinding": "imp lr-rewinding",
    "during training": "early-bird gradual rigl set snfs sr-ste ste",
    "after training": "cbs chita magnitude nm obd woodfisher woodfisher-gradual",
    "layer by layer": "admm alps dsnot magnitude-layerwise masklora oats obc ria sparsegpt wanda",
    "structured": "depgraph fpgm group-norm head-importance l1-filters l2-filters lamp-channels obd-channels shortgpt "
    "slimming taylor-channels",
    "learned masks": "edge-popup movement",
    "random pruning": "random random-channels static",
}
"""The built-in methods of that time by family: a closed list, as newer results say their family themselves."""
_BY_NAME = {name: family for family, names in OLDER.items() for name in names.split()}
_PART = re.compile(r'"by": \{"name": "([^"]+)"')


def family_of(result: Result) -> str:
    """The family of a result's method, as recorded; of an older result that of its name, or of its pipeline's names."""
    params = result.params
    names = (str(params.get("method.name", "")), *_PART.findall(str(params.get("method.stages", ""))))
    return result.provenance.get(FAMILY) or family_named(names)


def family_named(names: Iterable[str]) -> str:
    """The family of the first of these built-in methods that has one."""
    return next((_BY_NAME[name] for name in names if name in _BY_NAME), OTHER)
