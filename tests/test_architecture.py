"""Rules of imports between files, and bans in files; sources are read, nothing is imported."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "src" / "nasrun"
MAP = Path(__file__).parents[1] / "docs" / "architecture.md"
FILES = sorted(SOURCES.rglob("*.py"))
EVERYONE_MAY = {
    "genotype",
    "budget",
    "machine",
    "score",
    "shown",
    "files",
    "stage",
    "divergence",
    "keyed",
    "refusing",
    "schedules",
    "streams",
    "trained",
    "pretrained",
    "networks",
    "world",
    "costs.cost",
    "costs.ledger",
    "pictures.figure",
    "pictures.confusion",
    "pictures.curves",
    "pictures.plots",
    "pictures.ancestry",
    "analysis.futility",
    "analysis.paired",
}
"""Files that import only each other: data, formulas and plots."""

SPACES = (
    "spaces.base",
    "spaces.decision",
    "spaces.inheritance",
    "spaces.supernet",
    "spaces.layout",
)
"""The kinds of spaces, and the settings of a network."""

FROM_BEGIN_ON = {"context"}
"""Every stage receives a context, which names the bases of its parts."""

MAY = {
    "context": {"costs.limits", "engines.base", *SPACES, "tasks.base"},
    "__init__": {"runs.finished"},
    "__main__": {"cli"},
    "cli": {
        *(
            "cli",
            "pipeline",
            "runs",
            "pages",
            "analysis",
            "config",
            "display",
            "costs",
            "data.benchmarks",
            "data.packing",
        ),
        *("data.table", "claims"),
        "ranks",
    },
    "claims": {
        *("claims", "config", "data.table", "engines", "runs"),
        *("analysis.agreement", "strategies.evaluated"),
    },
    "config": {"config", "spaces.base", "spaces.notation"},
    "pipeline": {
        *(
            "pipeline",
            "runs.run",
            "runs.code",
            "runs.finding",
            "runs.environment",
            "runs.differences",
            "runs.log",
            "runs.unwritten",
            "runs.recorded",
            "runs.stage_folder",
            "config",
            "display",
            "retrain",
            "data.table",
            "data.contents",
            "data.base",
            "data.images",
            "data.portion",
        ),
        *("costs", "pictures.cells", "engines.base", "engines.shared", *SPACES, "spaces.notation"),
        "strategies.base",
        *("selectors.base", "selectors.discretisation", "tasks.base"),
        *("trackers.base", "trackers.mirror"),
    },
    "pages": {
        *("pages", "runs", "analysis", "config", "display", "pictures.cells", "pictures.graph"),
        "data.table",
        "pictures.layered",
    },
    "runs": {
        *(
            "runs",
            "config",
            "display",
            "data.table",
            "data.contents",
            "data.decode",
            "data.listing",
        ),
        *("pictures.cells", *SPACES, "strategies.base", "engines.local"),
    },
    "analysis": {
        *("analysis", "runs", "config", "display", "ops", "costs", *SPACES, "spaces.darts"),
        *("supernet", "strategies.base", "strategies.evaluated", "evaluators", "data.table"),
        *(
            "strategies.curvature",
            "data.contents",
            "data.splits",
            "strategies.history",
            "selectors.discretisation",
        ),
        *("pictures.cells", "pictures.measured", "engines", "tasks.base", "retrain"),
        *("pipeline.idle", "pipeline.refusals"),
    },
    "trackers": {"trackers", "runs.run", "runs.stage_folder", "config"},
    "display": {"display"},
    "pictures": {"pictures"},
    "evaluators": {
        *("evaluators.base", "costs", "data.table", *SPACES, "tasks.base", "engines.base"),
        *("evaluators.untrained", "evaluators.codes", "evaluators.counts", "supernet"),
        *("evaluators.samplers", "ops"),
    },
    "ranks": {"ops.shared"},
    "retrain": {*SPACES, "supernet.region", "tasks.base", "tasks.averaged", "costs"},
    "costs": {"costs", *SPACES, "supernet.mixture", "tasks.base"},
    "selectors": {
        *("selectors.base", "strategies.base", "strategies.differentiable", "evaluators"),
        *("strategies.judges", "strategies.history", *SPACES, "supernet", "costs"),
        "strategies.pareto",
        "tasks.base",
        "engines.base",
    },
    "strategies": {
        *("strategies.base", "strategies.levels", "strategies.differentiable", "evaluators.base"),
        *("strategies.descent", "strategies.pareto", "strategies.curvature"),
        *("strategies.penalties", "strategies.judges", "strategies.history", "tasks.base"),
        *("strategies.controller", "strategies.explore", "strategies.pruning", "engines.base"),
        "strategies.subspace",
        "strategies.exploit",
        *("strategies.evaluated", "strategies.variation", "strategies.members"),
        *("strategies.prefixes", "strategies.distinct", "strategies.delivery"),
        *("strategies.bourgain", "strategies.cost_process", "strategies.growth"),
        *("strategies.next_trial", "strategies.grown_trial"),
        *("spaces.morph", "spaces.morphs", "spaces.morph_layers", "spaces.edit_distance"),
        *(*SPACES, "supernet", "costs"),
    },
    "supernet": {"supernet", *SPACES, "ops"},
    "spaces": {"spaces", "supernet", "ops"},
    "tasks": {"tasks", "data"},
    "engines": {"engines"},
    "ops": {"ops"},
    "data": {"data"},
}
"""File or package of nasrun -> its further allowed imports; a package stands for its files."""

HYDRA = {"cli", "config"}

UNPICKLES = {"data.benchmarks.pickled"}
"""Reads pickles with an own list of the names that may be made."""


def name_of(path):
    parts = path.relative_to(SOURCES).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


@cache
def nodes(path):
    """All nodes of a file."""
    return [*ast.walk(ast.parse(path.read_text()))]


@cache
def imported(path):
    """The modules that a file imports, those inside functions and for type checkers included."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            below = SOURCES.parent / node.module.replace(".", "/")
            for alias in node.names:
                inner = (below / alias.name).with_suffix(".py").exists()
                inner = inner or (below / alias.name).is_dir()
                found.add(f"{node.module}.{alias.name}" if inner else node.module)
    return found


def unlike(fault):
    """What is wrong, by the names of the files, of those with something wrong."""
    return {name_of(path): found for path in FILES if (found := fault(path))}


def ours(path):
    names = (name.removeprefix("nasrun").removeprefix(".") for name in imported(path)
             if name == "nasrun" or name.startswith("nasrun."))  # fmt: skip
    return {name for name in names if name}


def test_a_file_imports_only_what_it_may():
    def wrong(path):
        name = name_of(path)
        home = name.split(".")[0]
        own = set() if {name, home} & EVERYONE_MAY else MAY[home] | FROM_BEGIN_ON
        allowed = tuple(f"{other}." for other in EVERYONE_MAY | own | {name})
        return {other for other in ours(path) if not f"{other}.".startswith(allowed)}

    assert unlike(wrong) == {}


def test_hydra_is_known_to_the_command_line_and_the_configuration_only():
    def wrong(path):
        known = {name.split(".")[0] for name in imported(path)} & {"hydra", "omegaconf"}
        return known if name_of(path).split(".")[0] not in HYDRA else set()

    assert unlike(wrong) == {}


def test_no_strategy_knows_another():
    shared = {"strategies.base", "strategies.levels", "strategies.differentiable"}
    shared |= {"strategies.descent", "strategies.pareto", "strategies.curvature"}
    shared |= {"strategies.penalties", "strategies.judges", "strategies.history"}
    shared |= {"strategies.controller", "strategies.explore", "strategies.pruning"}
    shared |= {"strategies.exploit", "strategies.subspace"}
    shared |= {"strategies.evaluated", "strategies.variation", "strategies.members"}
    shared |= {"strategies.prefixes", "strategies.distinct", "strategies.delivery"}
    shared |= {"strategies.bourgain", "strategies.cost_process", "strategies.growth"}
    shared |= {"strategies.next_trial", "strategies.grown_trial"}
    for path in FILES:
        if path.parent.name == "strategies":
            others = {name for name in ours(path) if name.startswith("strategies")}
            assert others - {name_of(path)} <= shared, path


def test_no_selector_knows_another():
    for path in FILES:
        if path.parent.name == "selectors":
            others = {name for name in ours(path) if name.startswith("selectors")}
            assert others - {name_of(path)} <= {"selectors.base"}, path


def test_the_reader_finds_imports():
    """Else the tests above would check nothing."""
    foresight = SOURCES / "pipeline" / "foresight.py"
    assert {"pipeline.plan", "pipeline.forecast", "genotype"} <= ours(foresight)
    assert "omegaconf" in set(imported(SOURCES / "config" / "composing.py"))
    assert "ops.conv" in ours(SOURCES / "spaces" / "darts.py")
    assert "ops" in ours(SOURCES / "supernet" / "edge.py")
    assert len(FILES) > 30


def test_no_files_import_each_other_in_a_circle():
    imports = {name_of(path): ours(path) - {name_of(path)} for path in FILES}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names them


def test_every_home_is_in_the_table():
    homes = {name_of(path).split(".")[0] for path in FILES}
    assert homes == set(MAY) | (EVERYONE_MAY & homes)
    assert not set(MAY) & EVERYONE_MAY


def test_the_map_in_the_docs_says_the_same():
    page = MAP.read_text()
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \|(?: ([`\w ]+))? \|$", page, re.MULTILINE)
    shown = {room: set(others.replace("`", "").split()) for room, others in rows}
    homes = {home: {name.split(".")[0] for name in MAY[home]} - {home} for home in MAY}
    assert shown == {home: homes[home] for home in homes if not home.startswith("__")}
    assert not {name for name in EVERYONE_MAY if f"`{name}`" not in page}


def test_a_file_runs_no_foreign_code_and_swallows_no_error():
    for path in FILES:
        for node in nodes(path):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{where}: a bare except"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile", "__import__"), where
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert keywords.get("weights_only") == "True", where
        pickling = {name.split(".")[0] for name in imported(path)} & {"pickle", "dill", "joblib"}
        if name_of(path) in UNPICKLES:
            used = {ast.unparse(n) for n in nodes(path) if isinstance(n, ast.Attribute)}
            assert {name for name in used if name.startswith("pickle.")} == {"pickle.Unpickler"}
            functions = {n.name for n in nodes(path) if isinstance(n, ast.FunctionDef)}
            assert "find_class" in functions
        else:
            assert not pickling, path


def test_a_file_begins_with_what_it_is():
    for path in FILES:
        assert (ast.get_docstring(nodes(path)[0]) or "").strip(), path
        assert path.stem not in ("utils", "helpers", "common", "misc"), path


def named(path):
    """The classes that a file defines, and the other names of types that it gives."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp):
            yield from (each.id for each in node.targets if isinstance(each, ast.Name))


def test_a_function_says_what_it_does_and_a_property_what_it_is():
    nouns = {"The", "A", "An", "All", "ValueError"}
    for path in FILES:
        for node in nodes(path):
            text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            if text and not any("property" in ast.unparse(each) for each in node.decorator_list):
                first = text.split()[0].rstrip(",")
                assert first.isalpha() and first.istitle() and first not in nouns, (path, text)


SAME = {"Edges", "Probabilities"}
"""Short names of one type each, that two files each spell out for themselves."""


def test_no_name_of_a_class_means_two_things():
    homes = {}
    for path in FILES:
        for name in named(path):
            if name.strip("_")[:1].isupper() and not name.isupper():
                homes.setdefault(name, set()).add(name_of(path))
    assert {
        name: found for name, found in homes.items() if len(found) > 1 and name not in SAME
    } == {}
