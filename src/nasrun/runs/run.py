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

import json
import math
import os
import platform
import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import yaml

from nasrun.config import refuse_references
from nasrun.genotype import fingerprint
from nasrun.machine import memory_gib
from nasrun.stage import Metrics

if TYPE_CHECKING:
    from nasrun.stage import Stage

STATE, PREVIOUS = "state.pt", "state.previous.pt"
KINDS = ("search", "select", "retrain", "transfer")


@dataclass(frozen=True)
class Run:
    """One versioned folder; `claim` finds or makes the one of a configuration."""

    path: Path

    @classmethod
    def find(cls, outputs: Path, name: str, config: dict[str, Any]) -> Run | None:
        """The run of this configuration under `outputs/name`, None if there is none yet."""
        mark = fingerprint(config)
        for path in _versions(outputs / name).values():
            run = cls(path)
            if run.exists and run.record["fingerprint"] == mark:
                return run
        return None

    @classmethod
    def check_writable(cls, outputs: Path) -> None:
        """ValueError if runs cannot be written below this folder."""
        existing = next(p for p in (outputs, *outputs.resolve().parents) if p.exists())
        if not existing.is_dir():
            raise ValueError(f"outputs={outputs}: {existing} is no folder")
        if not os.access(existing, os.W_OK):
            raise ValueError(f"outputs={outputs}: no permission to write in {existing}")

    @classmethod
    def claim(cls, outputs: Path, name: str, config: dict[str, Any], record: dict[str, Any]) -> Run:
        """The run of this configuration under `outputs/name`: the existing one, or a new version.

        A version is made complete under another name and then renamed, so that no half-made or
        empty one is ever seen; of two processes that race for a version one takes the next.
        """
        mark = fingerprint(config)
        family = outputs / name
        while True:
            if (found := cls.find(outputs, name, config)) is not None:
                return found
            target = family / f"v{max(_versions(family), default=0) + 1:03d}"
            draft = family / f".{target.name}.{uuid4().hex}"  # unlike any other machine's
            try:
                draft.mkdir(parents=True)
                write_yaml(draft / "config.yaml", config)
                write_json(draft / "run.json", {"fingerprint": mark, **record, **_environment()})
                draft.rename(target)
            except PermissionError as error:
                raise ValueError(
                    f"outputs={outputs}: no permission to write {error.filename}"
                ) from error
            except OSError:
                shutil.rmtree(draft, ignore_errors=True)
                if not target.exists():
                    raise
                continue
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
        return read_yaml(self.path / "config.yaml", "space", "dataset", "budget")

    def touch(self) -> None:
        """Make this the run that a later command means when it names none."""
        os.utime(self.path / "run.json")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of this folder; ValueError if another process works on it."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(f"run={self.path}: another nasrun is working on it") from error
        except OSError as error:
            raise ValueError(f"run={self.path}: no permission to write there") from error
        try:
            yield
        finally:
            lock.release()

    def search(self) -> StageFolder:
        """The folder of the search."""
        return StageFolder(self.path / "search", self.record["fingerprint"])

    def branch(self, kind: str, branch: str, config: dict[str, Any], parent: str) -> StageFolder:
        """The folder of a stage that follows another, for this configuration and this parent.

        A second configuration of the same branch gets the next free name: perturb, perturb-2, ...
        """
        mark = fingerprint([config, parent])
        number = 1
        while True:
            path = self.path / kind / (branch if number == 1 else f"{branch}-{number}")
            if not (path / "config.yaml").exists():
                return StageFolder(path, mark, {"fingerprint": mark, "parent": parent, **config})
            folder = StageFolder(path, mark)
            if folder.config["fingerprint"] == mark:
                return folder
            number += 1

    def stages(self) -> Iterator[StageFolder]:
        """The folders of all stages that have begun, in pipeline order."""
        if (self.path / "search").is_dir():
            yield self.search()
        for kind in KINDS[1:]:
            for path in sorted((self.path / kind).glob("*/config.yaml")):
                yield StageFolder(path.parent, read_yaml(path, "fingerprint")["fingerprint"])

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


class StageFolder:
    """Where one stage keeps its state, its metrics and its result.

    The folder is made with the first save, so that a stage refused at its start leaves nothing.
    """

    def __init__(self, path: Path, mark: str, config: dict[str, Any] | None = None) -> None:
        self.path = path
        self.fingerprint = mark
        self._config = config
        self._started = time.monotonic()
        self._round_started = self._started
        self._spent = 0.0

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
        return read_yaml(self.path / "config.yaml", "parent")["parent"]

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
        return read_yaml(self.path / "config.yaml", "fingerprint")

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
        return _records(self.path / "metrics.jsonl")

    def timing(self) -> list[Metrics]:
        """The rounds in `timing.jsonl`: seconds, and the process's peak memory until then."""
        return _records(self.path / "timing.jsonl")

    def restore(self, stage: Stage) -> None:
        """Put the last saved state into a stage that has begun; the random state comes last."""
        self.path.mkdir(parents=True, exist_ok=True)
        if self._config is not None:
            write_yaml(self.path / "config.yaml", self._config)
        state = self._read_state()
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
        for name in ("metrics.jsonl", "timing.jsonl"):
            _truncate(self.path / name, stage.round)
        self._started = self._round_started = time.monotonic()

    def load(self, stage: Stage) -> None:
        """Put a finished stage's state into `stage`, leaving the random state alone."""
        state = self._read_state()
        if state is None:
            raise ValueError(
                f"{self.path}: its state is gone, as after `nasrun clean`; delete result.json "
                f"there and type `nasrun {self.kind} run={self.path.parent}` to train it again"
            )
        stage.enter(self.path)
        stage.load_state_dict(state["stage"])
        stage.round = state["round"]

    def log(self, round: int, metrics: Metrics) -> None:
        """Append a round's metrics; wall-clock figures go to a file of their own."""
        now = time.monotonic()
        _append(self.path / "metrics.jsonl", {"round": round, **metrics})
        timing = {"round": round, "seconds": now - self._round_started, "memory_gib": memory_gib()}
        _append(self.path / "timing.jsonl", timing)
        self._round_started = now

    def save(self, stage: Stage) -> None:
        """Write the state to a temporary name, flush it, rename it; the one before is kept."""
        import torch

        state = {
            "round": stage.round,
            "stage": stage.state_dict(),
            "random": random_state(),
            "seconds": self._spent + time.monotonic() - self._started,
        }
        path = self.path / STATE
        draft = path.with_suffix(".tmp")
        with draft.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            path.replace(self.path / PREVIOUS)
        draft.replace(path)

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
        write_json(self.path / "result.json", {**result, "seconds": round(seconds, 3)})

    def amend(self, facts: dict[str, Any]) -> None:
        """Add facts to the result of a finished stage."""
        if not facts.items() <= self.result.items():
            write_json(self.path / "result.json", {**self.result, **facts})

    def _read_state(self) -> dict[str, Any] | None:
        """The newest readable state, None before the first round."""
        import torch

        damaged = []
        for name in (STATE, PREVIOUS):
            path = self.path / name
            if not path.exists():
                continue
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
                assert {"round", "stage", "random", "seconds"} <= set(state)
            except Exception as error:  # noqa: BLE001  damage shows itself in many types
                damaged.append(f"{path} ({error.__class__.__name__})")
                continue
            if damaged:
                import warnings

                warnings.warn(f"damaged state {damaged[0]}; going on from {path}", stacklevel=2)
            return state
        if damaged:
            raise ValueError(f"damaged state {' and '.join(damaged)}: delete it to begin anew")
        return None


def _versions(family: Path) -> dict[int, Path]:
    """The version folders by number, in order; a user's `v001.old` is none."""
    found = [path for path in family.glob("v*") if re.fullmatch(r"v\d{3,}", path.name)]
    return dict(sorted((int(path.name[1:]), path) for path in found))


def random_state() -> dict[str, Any]:
    """The state of every global generator, as tensors and numbers."""
    import numpy as np
    import torch

    name, keys, *rest = np.random.get_state(legacy=True)
    assert isinstance(keys, np.ndarray)
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(keys.astype("int64")), *rest],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Continue every global generator from such a state."""
    import numpy as np
    import torch

    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype("uint32"), *rest))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def seed_everything(seed: int, purpose: str) -> None:
    """Start every global generator anew, differently for every purpose."""
    import numpy as np
    import torch

    mixed = int(fingerprint([seed, purpose]), 16)
    torch.manual_seed(mixed)
    random.seed(mixed)
    np.random.seed(mixed % 2**32)


def read_json(path: Path, *needed: str) -> dict[str, Any]:
    """A JSON object; ValueError names a file that is missing, damaged, or lacks a needed key."""
    try:
        return _object(path, json.loads(path.read_text()), needed)
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: unreadable ({error.__class__.__name__})") from error


def read_yaml(path: Path, *needed: str) -> dict[str, Any]:
    """A YAML mapping; ValueError names a file that is missing, damaged, or lacks a needed key."""
    try:
        content = _object(path, yaml.safe_load(path.read_text()), needed)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: unreadable ({error.__class__.__name__})") from error
    refuse_references(content, str(path))
    return content


def _object(path: Path, content: Any, needed: Sequence[str]) -> dict[str, Any]:
    lacking = [key for key in needed if not isinstance(content, dict) or key not in content]
    if lacking or not isinstance(content, dict):
        raise ValueError(f"{path}: damaged, it has no {lacking[0] if lacking else 'keys'}")
    return content


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file at once, never half of it."""
    _write(path, as_json(content, indent=2) + "\n")


def as_json(content: Any, *, indent: int | None = None) -> str:
    """JSON of plain values; a number that JSON has no word for (NaN, an infinity) is null."""
    return json.dumps(_known(content), indent=indent, allow_nan=False)


def _known(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _known(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_known(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_yaml(path: Path, content: Any) -> None:
    """Write a YAML file at once, never half of it."""
    _write(path, yaml.safe_dump(content, sort_keys=False))


def _write(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(text)
    draft.replace(path)


def _records(path: Path) -> list[Metrics]:
    """What `_append` wrote: a null is a number again, which is none."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [
        {name: math.nan if value is None else value for name, value in json.loads(line).items()}
        for line in lines
    ]


def _append(path: Path, record: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(as_json(record) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _truncate(path: Path, rounds: int) -> None:
    """Drop what was logged after the last saved round, a half-written line included."""
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    _write(path, "".join(lines[:rounds]))


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
