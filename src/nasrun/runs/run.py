"""Runs on disk: versioned folders, fingerprints, and states that survive any interruption.

    outputs/<dataset>-<space>-<strategy>/v001/
        config.yaml run.json                the resolved configuration; what ran it, where, when
        search/                             state.pt metrics.jsonl result.json
        select/<branch>/                    the same and genotype.json
        retrain/<branch>/                   the same and weights.safetensors
        transfer/<branch>-<dataset>/        the same, per transfer set

Torch is imported only where states are read or written, so that listing runs stays quick.
"""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from nasrun.config import refuse_references
from nasrun.data.contents import WHEREABOUTS, Contents
from nasrun.files import (
    append_line,
    as_json,
    flush_folder,
    read_json,
    read_lines,
    read_yaml,
    remove_drafts,
    write_json,
    write_text,
    write_whole,
    write_yaml,
)
from nasrun.genotype import fingerprint
from nasrun.machine import memory_gib
from nasrun.runs.lock import held
from nasrun.runs.randomness import random_state, set_random_state
from nasrun.runs.state import PREVIOUS, STATE, read_state, write_state
from nasrun.stage import Metrics

if TYPE_CHECKING:
    from torch import Tensor

    from nasrun.stage import Stage

CONTENTS = "contents.json.gz"
METRICS, TIMING, WEIGHTS = "metrics.jsonl", "timing.jsonl", "weights.safetensors"
KINDS = ("search", "select", "retrain", "transfer")


@dataclass(frozen=True)
class Run:
    """One versioned folder; `claim` finds or makes the one of a configuration."""

    path: Path

    @classmethod
    def find(cls, outputs: Path, name: str, config: dict[str, Any]) -> Run | None:
        """The run of this configuration under `outputs/name`, `None` if there is none yet.

        ValueError if it is damaged; another one beside it that is damaged is passed over.
        """
        mark = fingerprint(identity(config))
        for path in _versions(outputs / name).values():
            run = cls(path)
            if not run.exists:
                continue
            try:
                found = run.record["fingerprint"]
            except ValueError:
                if run.has(config):
                    raise
                continue
            if found == mark:
                return run
        return None

    def has(self, config: dict[str, Any]) -> bool:
        """Whether this is what the run was configured with, as far as it can be read."""
        with suppress(ValueError):
            return identity(self.config) == identity(config)
        return False

    @classmethod
    def refuse_changed(
        cls, outputs: Path, name: str, config: dict[str, Any], contents: Contents | None
    ) -> None:
        """Raise ValueError if a run of this configuration had other files of its data set."""
        ours = identity({key: config[key] for key in config if key != "contents"})
        for path in _versions(outputs / name).values():
            run = cls(path)
            with suppress(ValueError):  # a damaged one is nobody's
                theirs = run.config
                if ours == identity({k: theirs[k] for k in theirs if k != "contents"}):
                    break
        else:
            return
        run.refuse_other(contents)

    def refuse_other(self, contents: Contents | None) -> None:
        """Raise ValueError if these are not the files of the data set that the run began with."""
        refuse_other_contents(self.path, self.config, contents, "dataset.root")

    @classmethod
    def check_writable(cls, outputs: Path) -> None:
        """ValueError if runs cannot be written below this folder."""
        existing = next(p for p in (outputs, *outputs.resolve().parents) if p.exists())
        if not existing.is_dir():
            raise ValueError(f"outputs={outputs}: {existing} is no folder")
        if not os.access(existing, os.W_OK):
            raise ValueError(f"outputs={outputs}: no permission to write in {existing}")

    @classmethod
    def claim(
        cls,
        outputs: Path,
        name: str,
        config: dict[str, Any],
        record: dict[str, Any],
        contents: Contents | None = None,
    ) -> Run:
        """The run of this configuration under `outputs/name`: the existing one, or a new version.

        No half-made or empty version is ever seen.
        """
        family = outputs / name
        try:
            family.mkdir(parents=True, exist_ok=True)
            with held(family, wait=True):  # of equal commands at one moment, one makes the run
                found = cls.find(outputs, name, config)
                return found or cls._make(family, config, record, contents)
        except PermissionError as error:
            raise ValueError(
                f"outputs={outputs}: no permission to write {error.filename}; choose another folder"
            ) from error

    @classmethod
    def _make(
        cls,
        family: Path,
        config: dict[str, Any],
        record: dict[str, Any],
        contents: Contents | None,
    ) -> Run:
        """The next version, made complete under another name and then renamed."""
        target = family / f"v{max(_versions(family), default=0) + 1:03d}"
        draft = family / f".{target.name}.{uuid4().hex}"  # unlike any other machine's
        try:
            draft.mkdir()
            write_yaml(draft / "config.yaml", config)
            write_contents(draft, contents)
            mark = {"fingerprint": fingerprint(identity(config))}
            write_json(draft / "run.json", {**mark, **record, **_environment()})
            draft.rename(target)
        except BaseException as error:
            shutil.rmtree(draft, ignore_errors=True)
            if (
                isinstance(error, OSError) and target.exists()
            ):  # a machine that sees no lock of ours
                return cls._make(family, config, record, contents)
            raise
        flush_folder(family)
        return cls(target)

    @classmethod
    def all(cls, outputs: Path) -> list[Run]:
        """Every run below a folder, the one used last at the end."""
        families = sorted(path for path in outputs.glob("*") if path.is_dir())
        runs = [cls(path) for family in families for path in _versions(family).values()]
        found = [run for run in runs if run.exists]
        return sorted(found, key=lambda run: (run.path / "run.json").stat().st_mtime_ns)

    @classmethod
    def open(cls, path: Path) -> Run:
        """The run at a path; ValueError if there is none."""
        if not cls(path).exists:
            raise ValueError(f"run={path}: no run there, `nasrun list runs` shows those that are")
        return cls(path)

    @property
    def exists(self) -> bool:
        """Whether there is a run at the path."""
        return (self.path / "run.json").is_file()

    @property
    def record(self) -> dict[str, Any]:
        """What `run.json` holds."""
        return read_json(self.path / "run.json", "fingerprint", "choices", "scale")

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration that the search ran with."""
        return _recorded(self.path / "config.yaml", "space", "dataset", "budget")

    def touch(self) -> None:
        """Make this the run that a later command means when it names none."""
        os.utime(self.path / "run.json")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this folder; ValueError if another process works on it.

        What unfinished writes have left is removed.
        """
        with held(self.path):
            remove_drafts(self.path)
            yield

    def search(self) -> StageFolder:
        """The folder of the search."""
        return StageFolder(self.path / "search", self.record["fingerprint"])

    def branch(
        self,
        kind: str,
        branch: str,
        config: dict[str, Any],
        parent: str,
        contents: Contents | None = None,
    ) -> StageFolder:
        """The folder of a stage that follows another, for this configuration and this parent.

        A second configuration of the same branch gets the next free name: perturb, perturb-2, ...
        ValueError if one of this configuration had other files of its own data set.
        """
        own = {"contents": contents.digest} if contents is not None else {}
        mark = fingerprint([identity(config | own), parent])
        ours = {"fingerprint": mark, "parent": parent, **config, **own}
        number = 1
        while True:
            path = self.path / kind / (branch if number == 1 else f"{branch}-{number}")
            if not (path / "config.yaml").exists():
                return StageFolder(path, mark, ours, contents)
            folder = StageFolder(path, mark)
            theirs = folder.config
            if theirs["fingerprint"] == mark:
                return folder
            same = {"fingerprint": mark, "contents": None}
            if own and identity(theirs | same) == identity(ours | same):
                refuse_other_contents(path, theirs, contents, f"{kind}.dataset.root")
            number += 1

    def stages(self) -> Iterator[StageFolder]:
        """The folders of all stages that have begun, in pipeline order."""
        if (self.path / "search").is_dir():
            yield self.search()
        for kind in KINDS[1:]:
            for path in sorted((self.path / kind).glob("*/config.yaml")):
                yield StageFolder(path.parent, _recorded(path, "fingerprint")["fingerprint"])

    def write_report(self) -> list[dict[str, Any]]:
        """Write the report to `report.json` and return its rows."""
        if rows := self.report():
            write_json(self.path / "report.json", rows)
        return rows

    def report(self) -> list[dict[str, Any]]:
        """One row per branch with a finished stage, beside the selection whose genotype it has."""
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        finished = [stage for stage in self.stages() if stage.finished]
        selected = {stage.fingerprint: stage.result for stage in finished if stage.kind == "select"}

        def row(parent: str, name: str) -> dict[str, Any]:
            chosen = {"select": selected[parent]} if parent in selected else {}
            return rows.setdefault((parent, name), {"branch": name, **chosen})

        for stage in finished:
            if stage.kind == "select":
                row(stage.fingerprint, stage.branch)
            elif stage.kind == "retrain":
                row(stage.parent, stage.branch)["retrain"] = stage.result
            elif stage.kind == "transfer":
                dataset = stage.branch.removeprefix(f"{stage.source}-")
                row(stage.parent, stage.source).setdefault("transfer", {})[dataset] = stage.result
        return list(rows.values())


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two configurations one: all but where data sets lie and who reads them.

    What is in a data set of files is the key `contents`.
    """
    return {
        key: identity(
            {name: each for name, each in value.items() if name not in WHEREABOUTS}
            if key == "dataset"
            else value
        )
        if isinstance(value, Mapping)
        else value
        for key, value in config.items()
    }


def write_contents(folder: Path, contents: Contents | None) -> None:
    """Keep the names and sizes of a data set's files, if it is made of files."""
    if contents is not None:
        write_whole(folder / CONTENTS, lambda file: file.write(contents.to_bytes()))


def refuse_other_contents(
    folder: Path, config: Mapping[str, Any], contents: Contents | None, key: str
) -> None:
    """Raise ValueError, naming files, if what was worked on in a folder had other contents."""
    known, now = config.get("contents"), contents or Contents({})
    if known in (None, now.digest):  # what older runs had, nobody noted
        return
    changes = Contents.read(folder / CONTENTS).changes(now)
    raise ValueError(
        f"{key}: the images are not those that {folder} began with: {changes}; put them back, or "
        "begin anew with outputs=DIR"
    )


class StageFolder:
    """Where one stage keeps its state, its metrics and its result.

    The folder is made with the first save, so that a stage refused at its start leaves nothing.
    """

    def __init__(
        self,
        path: Path,
        mark: str,
        config: dict[str, Any] | None = None,
        contents: Contents | None = None,
    ) -> None:
        self.path = path
        self.fingerprint = mark
        self._config = config
        self._contents = contents
        self._started = time.monotonic()
        self._round_started = self._started
        self._spent = 0.0
        self._rows: dict[str, list[Metrics]] = {}
        self._digests: dict[str, str] = {}

    @property
    def kind(self) -> str:
        """search, select, retrain or transfer."""
        return "search" if self.path.name == "search" else self.path.parent.name

    @property
    def branch(self) -> str:
        """The name of the branch, empty for the search."""
        return "" if self.kind == "search" else self.path.name

    @property
    def source(self) -> str:
        """The branch or published cell whose genotype a retraining or transfer trains."""
        return self.config["source"]

    @property
    def parent(self) -> str:
        """The fingerprint of what a later stage reads: of a search, a selection or a genotype."""
        return _recorded(self.path / "config.yaml", "parent")["parent"]

    @property
    def title(self) -> str:
        """The stage and its branch, as shown to the user."""
        return " ".join(filter(None, (self.kind, self.branch)))

    @property
    def finished_at(self) -> int:
        """When the result was written, in nanoseconds."""
        return (self.path / "result.json").stat().st_mtime_ns

    @property
    def config(self) -> dict[str, Any]:
        """The stage's own resolved groups, its fingerprint and its parent's."""
        return _recorded(self.path / "config.yaml", "fingerprint")

    @property
    def settings(self) -> dict[str, Any]:
        """All that it was configured with: the search's is the run's own configuration."""
        return Run(self.path.parent).config if self.kind == "search" else self.config

    @property
    def finished(self) -> bool:
        """Whether the stage has a result."""
        return (self.path / "result.json").is_file()

    @property
    def result(self) -> dict[str, Any]:
        """What `result.json` holds; ValueError if it is damaged."""
        return read_json(self.path / "result.json")

    def metrics(self) -> list[Metrics]:
        """The rounds in `metrics.jsonl`."""
        return _numbers(read_lines(self.path / METRICS))

    def timing(self) -> list[Metrics]:
        """The rounds in `timing.jsonl`: seconds, and the process's peak memory until then."""
        return _numbers(read_lines(self.path / TIMING))

    def restore(self, stage: Stage) -> None:
        """Put the last saved state into a stage that has begun; the random state comes last."""
        self.path.mkdir(parents=True, exist_ok=True)
        if self._config is not None:
            write_contents(self.path, self._contents)
            write_yaml(self.path / "config.yaml", self._config)
        state = read_state(self.path, repair=True)
        if state is not None:
            try:
                stage.load_state_dict(state["stage"])
            except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{self.path / STATE}: a state of another configuration "
                    f"({str(error).splitlines()[0]})"
                ) from error
            stage.round = state["round"]
            self._spent = state["seconds"]
            set_random_state(state["random"])
        self._rows = self._kept_rows(stage.round, state)
        for name, rows in self._rows.items():
            _rewrite(self.path / name, rows)
        self._started = self._round_started = time.monotonic()

    def _kept_rows(self, rounds: int, state: dict[str, Any] | None) -> dict[str, list[Metrics]]:
        """What is logged of the rounds that are done, from the state, which has it too.

        A state of before has not: then the files must have it.
        """
        if state is not None and "rows" in state:
            return {name: list(rows) for name, rows in state["rows"].items()}
        found = {
            name: _numbers(read_lines(self.path / name))[:rounds] for name in (METRICS, TIMING)
        }
        if [row.get("round") for row in found[METRICS]] != [*range(1, rounds + 1)]:
            raise ValueError(
                f"{self.path / METRICS}: damaged, it has not all of the {rounds} rounds that are "
                f"done; delete {self.path} to begin this stage anew"
            )
        return found

    def load(self, stage: Stage) -> None:
        """Put a finished stage's state into `stage`, leaving the random state alone."""
        state = read_state(self.path, repair=False)
        if state is None:
            raise ValueError(
                f"{self.path}: its state is gone, as after `nasrun clean`; delete result.json "
                f"there and type `nasrun {self.kind} run={self.path.parent}` to train it again"
            )
        done = len(self.metrics())
        if state["round"] != done:
            raise ValueError(
                f"{self.path / STATE}: damaged, and the state before it is of round "
                f"{state['round']} of {done}; delete {self.path / 'result.json'} and type `nasrun "
                f"{self.kind} run={self.path.parent}` to redo what is missing"
            )
        stage.enter(self.path)
        stage.load_state_dict(state["stage"])
        stage.round = state["round"]

    def log(self, round: int, metrics: Metrics) -> None:
        """Append a round's metrics; wall-clock figures go to a file of their own."""
        now = time.monotonic()
        self._append(METRICS, {"round": round, **metrics})
        timing = {"round": round, "seconds": now - self._round_started, "memory_gib": memory_gib()}
        self._append(TIMING, timing)
        self._round_started = now

    def save(self, stage: Stage) -> None:
        """Put a new state in place of the last one, which is kept."""
        write_state(
            self.path,
            {
                "round": stage.round,
                "stage": stage.state_dict(),
                "random": random_state(),
                "seconds": self._spent + time.monotonic() - self._started,
                "rows": self._rows,
            },
        )

    def save_weights(self, tensors: dict[str, Tensor]) -> None:
        """Write a trained network's weights; their digest goes into the result."""
        from safetensors.torch import save

        content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        self._digests[WEIGHTS] = write_whole(self.path / WEIGHTS, lambda file: file.write(content))

    def write(self, name: str, content: Any) -> None:
        """Write a JSON file of the stage's own."""
        write_json(self.path / name, content)

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result: from now on the stage is finished.

        The state before the last one is kept only of a search, which later stages read.
        """
        if self.kind != "search":
            (self.path / PREVIOUS).unlink(missing_ok=True)
        seconds = self._spent + time.monotonic() - self._started
        digests = {"digests": self._digests} if self._digests else {}
        content = {**result, **digests, "seconds": round(seconds, 3)}
        write_json(self.path / "result.json", content)

    def amend(self, facts: dict[str, Any]) -> None:
        """Add facts to the result of a finished stage."""
        if not facts.items() <= self.result.items():
            write_json(self.path / "result.json", {**self.result, **facts})

    def _append(self, name: str, row: Metrics) -> None:
        self._rows.setdefault(name, []).append(row)
        append_line(self.path / name, as_json(row))


def _recorded(path: Path, *needed: str) -> dict[str, Any]:
    """A configuration that was recorded resolved: what refers to something else is refused."""
    content = read_yaml(path, *needed)
    refuse_references(content, str(path))
    return content


def _versions(family: Path) -> dict[int, Path]:
    """The version folders by number, in order; a user's `v001.old` is none."""
    found = [path for path in family.glob("v*") if re.fullmatch(r"v\d{3,}", path.name)]
    return dict(sorted((int(path.name[1:]), path) for path in found))


def _numbers(rows: Sequence[Mapping[str, Any]]) -> list[Metrics]:
    """The rows of a log; what is null there is a number again, which is none."""
    return [{name: math.nan if y is None else y for name, y in row.items()} for row in rows]


def _rewrite(path: Path, rows: Sequence[Metrics]) -> None:
    """Make a file of rows hold these and no more."""
    text = "".join(as_json(row) + "\n" for row in rows)
    if (path.read_text() if path.exists() else "") != text:
        write_text(path, text)


def _environment() -> dict[str, Any]:
    from importlib import metadata

    packages = ("nasrun", "torch", "torchvision", "numpy", "hydra-core")
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "versions": versions,
        "machine": platform.processor() or platform.machine(),
        "git": _git_commit(),
    }


def _git_commit() -> str | None:
    """The commit of the checkout that this package runs from, if it is one."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
