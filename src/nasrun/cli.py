"""The command line: a verb, then Hydra's override grammar.

The dispatcher takes the verb (and `trust=`) off, checks the rest before torch is imported, and
hands over to the pipeline; `--multirun`, `--cfg`, `--info` and shell completion stay Hydra's own.

Exit status: 0 done, 2 wrong input, 75 the hours of the budget are spent (the same command
continues), 130 interrupted.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from nasrun.pipeline.plan import Plan
    from nasrun.pipeline.source import Source

VERBS = {
    "run": "search, select, retrain and transfer, one after the other",
    "search": "train what a strategy learns from",
    "select": "turn what a search learned into one architecture (method=NAME chooses how)",
    "retrain": "train a selected or published architecture from scratch and test it",
    "transfer": "train it from scratch on another data set (transfer=imagenet) and test it",
    "plan": "what a run, or `plan VERB` would take: memory, time, networks; a few steps are run",
    "list": "the groups, the options of one (list strategy), or the runs (list runs)",
    "show": "an architecture, drawn and counted, or a run's report",
    "export": "write a trained network in another format (export RUN format=onnx)",
}
STAGES = ("run", "search", "select", "retrain", "transfer")
"""The verbs that `plan` can foresee."""
COMPOSED = (*STAGES, "plan")
"""The verbs that take a configuration's overrides."""
EXAMPLES = {
    "run": "nasrun run\nnasrun run strategy=snas seed=1\nnasrun run experiment=smoke",
    "search": "nasrun search strategy=snas\nnasrun search -m strategy=darts,snas seed=0,1,2",
    "select": "nasrun select\nnasrun select method=perturb run=outputs/digits-darts-darts/v001",
    "retrain": "nasrun retrain\nnasrun retrain genotype=darts_v2 retrain=cifar dataset=cifar10",
    "transfer": "nasrun transfer\nnasrun transfer transfer=imagenet transfer.dataset.root=DIR",
    "plan": "nasrun plan strategy=darts space=mobile_28 depth=20\n"
    "nasrun plan strategy=radars space=mobile_28 depth=20 budget.max_memory_gib=2\n"
    "nasrun plan retrain genotype=darts_v2 retrain=cifar dataset=cifar10",
    "list": "nasrun list\nnasrun list strategy\nnasrun list runs",
    "show": "nasrun show outputs/digits-darts-darts/v001\n"
    "nasrun show genotype=darts_v2 network=imagenet format=json",
    "export": "nasrun export outputs/digits-darts-darts/v001 format=onnx",
}
ASKED = {
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(
        ("--info", "-i"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
    ),
}
"""Hydra's flags that print something instead of running, and what they can print."""
HYDRA_FLAGS = ("--cfg", "-c", "--info", "-i", "--package", "-p", "--resolve", "--hydra-help")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit."""
    try:
        status = dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except BrokenPipeError:  # `nasrun list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except (ValueError, OSError) as error:
        status = _refused(error)
    except KeyboardInterrupt:
        behind_the_echo = "\n" if sys.stderr.isatty() else ""  # a terminal shows ^C
        text = "interrupted; finished rounds are kept, the same command continues"
        print(f"{behind_the_echo}nasrun: {text}", file=sys.stderr)
        status = 130
    sys.exit(status)


def dispatch(arguments: list[str]) -> int:
    """The exit status of a command; ValueError for wrong input."""
    if "-sc" in arguments or "--shell-completion" in arguments:
        return _complete(arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"nasrun {version('nasrun')}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        near = _near(verb, VERBS) or f"; the verbs are {', '.join(VERBS)}"
        raise ValueError(f"{verb}: unknown verb{near}")
    if "-h" in rest or "--help" in rest:
        print(_help_of(verb))
        return 0
    if verb in COMPOSED:
        return _run_stages(Line.parse(verb, rest))
    return {"list": _list, "show": _show, "export": _export}[verb](rest)


@dataclass(frozen=True)
class Line:
    """A command line taken apart; the verb of `plan VERB` is the one to foresee, else `run`."""

    verb: str
    only_foreseen: bool
    overrides: tuple[str, ...]
    flags: tuple[str, ...]
    multirun: bool
    trusted: tuple[str, ...]

    @classmethod
    def parse(cls, verb: str, words: Sequence[str]) -> Line:
        """Sort the words into overrides, Hydra's flags and trusted packages."""
        only_foreseen = verb == "plan"
        if only_foreseen:
            named = words and words[0][:1].isalpha() and "=" not in words[0]
            verb, words = (words[0], words[1:]) if named else ("run", words)
            if verb not in STAGES:
                near = _near(verb, STAGES) or f"; it foresees {', '.join(STAGES)}"
                raise ValueError(f"plan {verb}: unknown verb{near}")
        overrides, flags, trusted, multirun = [], [], [], False
        takes_value = False
        for word in words:
            if takes_value and "=" not in word:
                flags.append(word)
                takes_value = False
            elif word in ("-m", "--multirun"):
                multirun = True
            elif word.startswith("-"):
                if word.split("=")[0] not in HYDRA_FLAGS:
                    near = _near(word, ("--multirun", "--help", *HYDRA_FLAGS))
                    raise ValueError(f"{word}: unknown flag{near}")
                flags.append(word)
                takes_value = word in ("--cfg", "-c", "--package", "-p", "--info", "-i")
            elif word.startswith("trust="):
                trusted += _packages(word.removeprefix("trust="))
            elif word.startswith("method="):
                overrides.append("selector=" + word[7:])
            else:
                overrides.append(word)
        _check_flags(flags)
        return cls(verb, only_foreseen, tuple(overrides), tuple(flags), multirun, tuple(trusted))

    def typed(self, key: str) -> str | None:
        """The value typed for a key, None if it was not."""
        found = [o.partition("=")[2] for o in self.overrides if o.partition("=")[0] == key]
        if not found or found[-1] == "null":
            return None
        text = found[-1]
        quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
        return text[1:-1] if quoted else text

    def split(self) -> tuple[list[str], list[str]]:
        """The overrides that are nasrun's, and those that are Hydra's own."""
        own = [o for o in self.overrides if not re.match("hydra[./]", o.lstrip("+~"))]
        return own, [o for o in self.overrides if o not in own]


def _check_flags(flags: Sequence[str]) -> None:
    """ValueError for what Hydra would answer with a page, or take for a run without a verb."""
    flags = [part for flag in flags for part in flag.split("=", 1)]
    for flag, value in pairwise([*flags, "nothing"]):
        if flag in ASKED and value not in ASKED[flag]:
            raise ValueError(f"{flag} {value}: expected one of {', '.join(ASKED[flag])}")
    if flags and not {*ASKED, "--hydra-help"} & set(flags):
        raise ValueError(f"{flags[0]}: has no effect without --cfg job")


def _run_stages(line: Line) -> int:
    """A stage verb: one command, or a sweep of them."""
    from nasrun.config import compose

    if line.only_foreseen and line.multirun:
        raise ValueError("plan -m: takes one configuration at a time")
    if line.multirun and line.flags:
        return _hydra(["--multirun", *line.flags, *line.overrides], lambda config: None)
    if line.multirun:
        return _sweep(line)
    source = _source(line)
    if line.flags:
        overrides = _overrides(line, source)
        compose(overrides)  # a mistyped word is told in one line
        return _hydra([*line.flags, *overrides], lambda config: None)
    return _run_one(line, source)


def _source(line: Line) -> Source | None:
    """What a command continues, None if it begins a run."""
    from nasrun.config import compose
    from nasrun.pipeline.source import find_source, refuse_folder

    outputs, run = Path(line.typed("outputs") or "outputs"), line.typed("run")
    selector = None if line.verb in ("run", "search", "select") else line.typed("selector")
    try:
        if run is not None:
            refuse_folder(line.verb, run)
        return find_source(line.verb, outputs, run, line.typed("genotype"), selector)
    except ValueError:
        compose(line.overrides)  # a mistyped word is told first
        raise


def _overrides(line: Line, source: Source | None) -> list[str]:
    """What is typed, after the options of what is continued."""
    from nasrun.pipeline.source import inherited_choices

    return [*(inherited_choices(source, line.overrides) if source else []), *line.overrides]


def _plan(line: Line, source: Source | None) -> Plan:
    """What a command will need, checked and built."""
    from nasrun.config import compose
    from nasrun.pipeline.plan import Command, prepare

    composed = compose(_overrides(line, source))
    command = Command(line.verb, composed, line.overrides, line.trusted, line.only_foreseen)
    return prepare(command, source)


def _run_one(line: Line, source: Source | None) -> int:
    from nasrun.budget import BudgetSpent
    from nasrun.pipeline.execution import execute
    from nasrun.runs.report import print_run

    console, plan = _console(), _plan(line, source)
    warnings.showwarning = _warn
    if line.only_foreseen:
        return _foresee(console, plan)
    try:
        run, _ = execute(plan, console)
    except BudgetSpent as spent:
        console.print(f"{spent}; the same command continues", highlight=False)
        return 75
    print_run(console, run)
    return 0


def _foresee(console: Any, plan: Any) -> int:
    """The tables of `nasrun plan`; 2 where the run cannot be."""
    from nasrun.pipeline.execution import foresee
    from nasrun.pipeline.forecast import print_outlook

    outlook = foresee(plan)
    print_outlook(console, plan.family, outlook)
    if outlook.refusals:
        raise ValueError("; ".join(outlook.refusals))
    return 0


def _sweep(line: Line) -> int:
    """Hydra's multirun: every job is checked before the first begins, then the table is printed."""
    from nasrun.runs.report import print_runs

    own, of_hydra = line.split()
    line, sources = replace(line, overrides=(*own, *of_hydra)), {}
    jobs = _jobs(line.overrides)
    for job in jobs or [tuple(o for o in line.overrides if "(" not in o)]:
        one = replace(line, overrides=job)
        sources[job] = _source(one)
        _plan(one, sources[job])
    folder = (
        Path(line.typed("outputs") or "outputs") / "sweeps" / time.strftime("%Y-%m-%d/%H-%M-%S")
    )
    # Hydra composes every job once more, with what the first inherits: the values fit all jobs
    overrides = _overrides(line, next(iter(sources.values())))
    given = len(overrides) - len(line.overrides)
    if line.typed("hydra.sweep.dir") is None:
        overrides = [*overrides, f"hydra.sweep.dir={folder}"]
    else:
        folder = Path(str(line.typed("hydra.sweep.dir")))

    def job_function(config: Any) -> float:
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        GlobalHydra.instance().clear()  # the job is composed anew, with what it inherits itself
        job = replace(line, overrides=(*hydra.overrides.task[given:], *of_hydra))
        return _run_job(job, sources, folder / "jobs.jsonl", hydra.job.num, len(jobs))

    journal = folder / "jobs.jsonl"
    journal.unlink(missing_ok=True)  # of the same sweep before
    _hydra(["--multirun", *overrides], job_function)
    records = [json.loads(text) for text in journal.read_text().splitlines()]
    print_runs(_console(), [Path(r["run"]) for r in records if "run" in r], "sweep")
    failed = [record for record in records if "error" in record]
    for record in failed:
        print(f"nasrun: {' '.join(record['overrides'])}: {record['error']}", file=sys.stderr)
    return 2 if failed else 0


def _run_job(
    line: Line,
    sources: Mapping[tuple[str, ...], Source | None],
    journal: Path,
    number: int,
    total: int,
) -> float:
    """One job of a sweep, in whatever process its launcher chose; returns its accuracy.

    `sources` are what the jobs that were known beforehand continue.
    """
    from filelock import FileLock

    from nasrun.pipeline.execution import execute
    from nasrun.runs.report import score

    console, (typed, _) = _console(), line.split()
    console.rule(f"{number + 1} of {total}  {' '.join(typed)}", align="left")
    record: dict[str, Any] = {"overrides": list(typed)}
    accuracy = float("nan")
    try:
        known = line.overrides in sources
        source = sources[line.overrides] if known else _source(line)
        run, stages = execute(_plan(line, source), console)
        record["run"] = str(run.path)
        accuracy = score(stages)
    except Exception as error:  # noqa: BLE001  whatever ends one job, the others go on
        if os.environ.get("NASRUN_TRACEBACK"):
            traceback.print_exc()
        record["error"] = _told(error)
        console.print(f"nasrun: {record['error']}", markup=False)
    with FileLock(journal.with_suffix(".lock")), journal.open("a") as file:
        file.write(json.dumps(record) + "\n")
    return accuracy


def _jobs(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """The overrides of every job of a sweep; empty where a sweeper draws them as it goes."""
    import itertools

    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ValueError(str(error).splitlines()[0]) from error
    axes = []
    for override in parsed:
        if not override.is_sweep_override():
            axes.append([str(override.input_line)])
        elif override.is_discrete_sweep():
            key = override.get_key_element()
            axes.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            return []
    return list(itertools.product(*axes))


def _hydra(arguments: Sequence[str], function: Any) -> int:
    """Hydra's own main with these arguments."""
    import hydra

    from nasrun.config import conf_folder, register

    register()
    sys.argv = ["nasrun", *arguments]
    decorate = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
    decorate(function)()
    return 0


def _complete(arguments: Sequence[str]) -> int:
    """Shell completion: verbs here, everything after a verb by Hydra."""
    words = os.environ.get("COMP_LINE", "").split(" ")
    if "query" in " ".join(arguments) and len(words) > 1:
        if len(words) == 2:
            print(" ".join(verb for verb in VERBS if verb.startswith(words[1])))
            return 0
        if words[1] not in COMPOSED:
            from nasrun.config import GROUPS

            known = (*GROUPS, "genotype", "runs") if words[1] == "list" else ()
            print(" ".join(name for name in known if name.startswith(words[-1])))
            return 0
        after = 2
        if words[1] == "plan" and len(words) == 3:
            print(" ".join(verb for verb in STAGES if verb.startswith(words[2])))
        elif words[1] == "plan" and words[2] in STAGES:
            after = 3
        rest = [word.replace("method=", "selector=", 1) for word in words[after:]]
        os.environ["COMP_LINE"] = " ".join(["nasrun", *rest])
        if words[-1].startswith("method="):
            from nasrun.config import options

            methods = [f"method={name}" for name in options("selector")]
            print(" ".join(method for method in methods if method.startswith(words[-1])))
            return 0
    return _hydra(arguments, lambda config: None)


def _list(words: Sequence[str]) -> int:
    """`nasrun list [GROUP|runs]`."""
    from nasrun.config import GENOTYPES, GROUPS, options

    console = _console()
    listable = (*GROUPS, "genotype", "runs")
    keys = dict(word.split("=", 1) for word in words if "=" in word)
    names = [word for word in words if "=" not in word]
    for key in keys:
        if key != "outputs":
            raise ValueError(f"{key}: unknown key{_near(key, ['outputs'])}; list takes outputs=DIR")
    for name in names:
        if name not in listable:
            near = _near(name, listable) or f"; there are {', '.join(listable)}"
            raise ValueError(f"{name}: nothing to list{near}")
    if "runs" in names and names != ["runs"]:
        raise ValueError(f"list {' '.join(names)}: runs are listed alone")
    if names == ["runs"]:
        from nasrun.runs.report import print_runs
        from nasrun.runs.run import Run

        outputs = Path(keys.get("outputs", "outputs"))
        print_runs(console, [run.path for run in Run.all(outputs)], str(outputs))
        return 0
    from nasrun.display import table

    for group in names or [name for name in listable if name != "runs"]:
        folder = GENOTYPES if group == "genotype" else group
        table(console, group, ("option", "what it is"), list(options(folder).items()))
    return 0


def _show(words: Sequence[str]) -> int:
    """`nasrun show RUN` or `nasrun show genotype=NAME`."""
    from nasrun.runs import show

    keys, names = _keys(words, show.KEYS)
    if ("genotype" in keys) + len(names) != 1:
        raise ValueError("show: takes a run's folder or genotype=NAME, one of the two")
    form = keys.get("format", "table")
    if form not in ("table", "json"):
        raise ValueError(f"format={form}: table or json")
    network, trusted = keys.get("network"), _packages(keys.get("trust", ""))
    table = keys.get("table")
    if "genotype" in keys:
        name, space, out = keys["genotype"], keys.get("space"), keys.get("out")
        record = show.genotype(name, network, space, out, trusted, table)
    else:
        if idle := [f"{key}={keys[key]}" for key in ("space", "out") if key in keys]:
            raise ValueError(
                f"{idle[0]}: has no effect on a run, which has its space and its pictures; leave "
                "it out"
            )
        record = show.run(names[0], network, trusted, table)
    if form == "json":
        print(json.dumps(record, indent=2))
    else:
        show.print_record(_console(), record)
    return 0


def _export(words: Sequence[str]) -> int:
    """`nasrun export RUN format=onnx`."""
    keys, names = _keys(words, ("format", "branch", "trust"))
    if len(names) != 1:
        raise ValueError(
            "export: takes one run's folder, for example `nasrun list runs` shows them"
        )
    if keys.get("format", "onnx") != "onnx":
        raise ValueError(f"format={keys['format']}: onnx is what can be written")
    from nasrun.runs.finished import load, trained_folder

    folder = trained_folder(Path(names[0]), keys.get("branch"))
    trusted = _packages(keys.get("trust", ""))
    path = folder.path / "network.onnx"
    difference = load(folder.path, trust=trusted).export(path)
    if difference > 1e-3:
        raise ValueError(f"{path}: its outputs differ by {difference:.2g} from the network's")
    print(f"{path}  largest difference of the outputs {difference:.1e}")
    return 0


def _packages(text: str) -> list[str]:
    """The names in `[a,b]`."""
    return [name.strip() for name in text.strip("[]").split(",") if name.strip()]


def _keys(words: Sequence[str], known: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """key=value words and the others; ValueError for a key that is not known."""
    keys = dict(word.split("=", 1) for word in words if "=" in word)
    for key in keys:
        if key not in known:
            near = _near(key, known) or f"; there are {', '.join(known)}"
            raise ValueError(f"{key}: unknown key{near}")
    return keys, [word for word in words if "=" not in word]


def _help() -> str:
    verbs = "\n".join(f"  {verb:9}{text}" for verb, text in VERBS.items())
    return f"""nasrun: neural architecture search, one command a stage

usage: nasrun VERB [key=value ...] [-m]

{verbs}

examples:
  nasrun run                                 the whole pipeline on the embedded data
  nasrun search strategy=snas                one stage; then
  nasrun select method=perturb               on the newest search, or run=PATH; then
  nasrun retrain                             the newest selection, or genotype=darts_v2
  nasrun search -m strategy=darts,snas seed=0,1,2

Groups and options: nasrun list. A verb's keys: nasrun VERB --help. The resolved configuration:
nasrun VERB ... --cfg job. Shell completion: eval "$(nasrun -sc install=bash)" (or zsh, fish).
"""


def _help_of(verb: str) -> str:
    text = [f"nasrun {verb}: {VERBS[verb]}", "", *(f"  {e}" for e in EXAMPLES[verb].splitlines())]
    if verb in COMPOSED:
        from nasrun.config import GROUPS, options
        from nasrun.pipeline.source import ALWAYS, OWN

        reads = [key for key in (*ALWAYS, *OWN.get(verb, OWN["run"])) if key != "hydra"]
        text += ["", "groups (group=option, group.key=value):"]
        text += [f"  {g:11}{', '.join(options(g)) or '-'}" for g in GROUPS if g in reads]
        text += ["", "keys: " + ", ".join(key for key in reads if key not in GROUPS)]
        text += ["", "--cfg job prints the resolved configuration, -m sweeps over a,b,c values."]
    elif verb == "show":
        from nasrun.runs.show import KEYS

        text += ["", "keys: " + ", ".join(f"{key}={value}" for key, value in KEYS.items())]
    return "\n".join(text)


def _near(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), 1)
    return f", did you mean {near[0]}?" if near else ""


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 140)


def _refused(error: ValueError | OSError) -> int:
    """One line on standard error; the traceback only for those who ask for it."""
    if os.environ.get("NASRUN_TRACEBACK"):
        raise error
    print(f"nasrun: {_told(error)}", file=sys.stderr)
    return 2


def _told(error: Exception) -> str:
    """One line: a refusal's own words; of what nobody foresaw its type and its first line."""
    from nasrun.budget import BudgetSpent

    text = str(error)
    if isinstance(error, OSError):
        text = f"{error.filename or 'files'}: {error.strerror or error}"
    elif not isinstance(error, ValueError | BudgetSpent):
        text = f"{type(error).__name__}: {text}".splitlines()[0]
    return " ".join(text.split())


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Warnings as one line; those of libraries are for their developers."""
    if Path(filename).is_relative_to(Path(__file__).parent):
        print(f"nasrun: warning: {message}", file=sys.stderr)
