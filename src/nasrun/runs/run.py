"""Runs on disk: versioned folders, fingerprints, and states that survive any interruption.

    outputs/<dataset>-<space>-<strategy>/v001/
        config.yaml run.json                the resolved configuration; machine, versions, time
        search/                             state.pt metrics.jsonl result.json
        select/<branch>/                    the same and genotype.json
        retrain/<branch>/                   the same and weights.safetensors
        transfer/<branch>-<dataset>/        the same, per transfer set

Torch is imported only where states are read or written, so that listing runs stays quick.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any
from uuid import uuid4

from nasrun.config.stages import RETRAIN, SEARCH, SELECT, STAGES, TRANSFER
from nasrun.data.contents import Contents
from nasrun.files import (
    Types,
    flush,
    read_json,
    refuse_links,
    remove_drafts,
    typed,
    write_json,
    write_record,
    write_yaml,
)
from nasrun.genotype import fingerprint
from nasrun.runs.environment import environment
from nasrun.runs.lock import held
from nasrun.runs.recorded import identity, recorded, refuse_other_contents, write_contents
from nasrun.runs.stage_folder import StageFolder

RECORDED: Types = {
    **dict.fromkeys(("fingerprint", "created", "machine", "python"), str),
    **dict.fromkeys(("choices", "scale", "versions"), dict),
    **dict.fromkeys(("genotype", "table", "git"), (str, NoneType)),
    "seed": (int, NoneType),
}
NAMES = tuple(kind.name for kind in STAGES)


@dataclass(frozen=True)
class Run:
    """One versioned folder; `claim` finds or makes that of a configuration."""

    path: Path

    @classmethod
    def find(cls, outputs: Path, name: str, config: dict[str, Any]) -> Run | None:
        """Return the run of this configuration under `outputs/name`, or `None`.

        Raises ValueError if it is damaged; other damaged runs are skipped.
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
        """Return whether the run has this configuration, as far as it can be read."""
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
            with suppress(ValueError):  # a damaged run matches no configuration
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
    def check_writable(cls, outputs: Path, name: str = "") -> None:
        """Raise ValueError if runs cannot be written below `outputs/name`."""
        folder = outputs / name
        existing = next(p for p in (folder, *folder.resolve().parents) if p.exists())
        if not existing.is_dir():
            raise ValueError(f"outputs={outputs}: {existing} is not a folder; name another")
        if not os.access(existing, os.W_OK):
            raise ValueError(
                f"outputs={outputs}: no permission to write in {existing}; name another folder"
            )

    @classmethod
    def claim(
        cls,
        outputs: Path,
        name: str,
        config: dict[str, Any],
        record: dict[str, Any],
        contents: Contents | None = None,
    ) -> Run:
        """Return the run of this configuration under `outputs/name`, or make a new version.

        An incomplete or empty version is never visible.
        """
        family = outputs / name
        try:
            family.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"outputs={outputs}: cannot make {family} ({error.strerror}); choose another folder"
            ) from error
        try:
            # of simultaneous equal commands, only one makes the run
            with held(family, f"outputs={outputs}", wait=True):
                _remove_half_made(family)
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
        """Make the next version under a temporary name, and rename it when it is complete."""
        target = family / f"v{max(_versions(family), default=0) + 1:03d}"
        draft = family / f".{target.name}.{uuid4().hex}"  # unique on all machines
        try:
            draft.mkdir()
            write_yaml(draft / "config.yaml", config)
            write_contents(draft, contents)
            mark = {"fingerprint": fingerprint(identity(config))}
            write_record(draft / "run.json", {**mark, **record, **environment()})
            draft.rename(target)
        except BaseException as error:
            shutil.rmtree(draft, ignore_errors=True)
            # a machine that does not see our lock may have made the same version
            if isinstance(error, OSError) and target.exists():
                return cls._make(family, config, record, contents)
            raise
        flush(family)
        return cls(target)

    @classmethod
    def versions(cls, outputs: Path, name: str) -> list[Run]:
        """Return the readable versions below `outputs/name`, the newest at the end."""
        return [run for path in _versions(outputs / name).values() if (run := cls(path)).readable]

    @classmethod
    def all(cls, outputs: Path) -> list[Run]:
        """Return every run below a folder, the last used at the end."""
        families = sorted(path for path in outputs.glob("*") if path.is_dir())
        runs = [cls(path) for family in families for path in _versions(family).values()]
        return sorted((run for run in runs if run.exists), key=lambda run: run._used)

    @classmethod
    def open(cls, path: Path) -> Run:
        """Return the run at a path; ValueError if there is none."""
        if not cls(path).exists:
            raise ValueError(f"run={path}: no run there; `nasrun list runs` shows the runs")
        return cls(path)

    @property
    def exists(self) -> bool:
        """Return whether there is a run at the path, damaged or not."""
        return any((self.path / name).exists() for name in ("run.json", "config.yaml"))

    @property
    def readable(self) -> bool:
        """Return whether the run's record and configuration can be read."""
        try:
            return bool(self.record and self.config)
        except ValueError:
            return False

    @property
    def record(self) -> dict[str, Any]:
        """Content of `run.json`."""
        path = self.path / "run.json"
        return typed(path, read_json(path, "fingerprint", "choices", "scale"), RECORDED)

    @property
    def config(self) -> dict[str, Any]:
        """Resolved configuration of the search."""
        return recorded(self.path / "config.yaml", "space", "dataset", "budget")

    @property
    def _used(self) -> int:
        """Time of the last command that used the run, in nanoseconds; 0 if unknown."""
        path = self.path / "run.json"
        return path.stat().st_mtime_ns if path.exists() else 0

    def touch(self) -> None:
        """Make this the newest run, which later commands use if they name none."""
        os.utime(self.path / "run.json")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock this folder in the context; ValueError if another process works on it.

        Unfinished files are removed. Nothing is written or deleted through a link to a folder
        outside: ValueError if there is one.
        """
        with held(self.path, f"run={self.path}"):
            refuse_links(self.path)
            remove_drafts(self.path)
            yield

    def search(self) -> StageFolder:
        """Return the folder of the search."""
        return StageFolder(self.path / SEARCH.name, self.record["fingerprint"])

    def branch(
        self,
        kind: str,
        branch: str,
        config: dict[str, Any],
        parent: str,
        contents: Contents | None = None,
        earlier: StageFolder | None = None,
    ) -> StageFolder:
        """Return the folder of a later stage for this configuration and this parent.

        A new folder starts from the final state of `earlier`, if given. A second configuration of
        the same branch gets the next free name: perturb, perturb-2, ... Raises ValueError if a
        folder of this configuration had other files of its own data set.
        """
        own = {"contents": contents.digest} if contents is not None else {}
        mark = fingerprint([identity(config | own), parent])
        ours = {"fingerprint": mark, "parent": parent, **config, **own}
        number = 1
        while True:
            path = self.path / kind / (branch if number == 1 else f"{branch}-{number}")
            folder = StageFolder(path, mark, earlier=earlier)
            if not folder.begun:
                return StageFolder(path, mark, ours, contents, earlier)
            theirs = folder.config
            if theirs["fingerprint"] == mark:
                return folder
            same = {"fingerprint": mark, "contents": None}
            if own and identity(theirs | same) == identity(ours | same):
                refuse_other_contents(path, theirs, contents, f"{kind}.dataset.root")
            number += 1

    def stages(self) -> Iterator[StageFolder]:
        """Yield the folders of all stages that have begun, in pipeline order."""
        if (self.path / SEARCH.name).is_dir():
            yield self.search()
        for kind in NAMES[1:]:
            for path in sorted((self.path / kind).glob("*")):
                if StageFolder(path, "").begun:
                    config = recorded(path / "config.yaml", "fingerprint")
                    yield StageFolder(path, config["fingerprint"])

    def write_report(self) -> list[dict[str, Any]]:
        """Write the report to `report.json` and return its rows."""
        if rows := self.report():
            write_json(self.path / "report.json", rows)
        return rows

    def report(self) -> list[dict[str, Any]]:
        """Return one row per branch with a finished stage, with its genotype's selection."""
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        finished = [stage for stage in self.stages() if stage.finished]
        selected = {
            stage.fingerprint: stage.result for stage in finished if stage.kind == SELECT.name
        }

        def row(parent: str, name: str) -> dict[str, Any]:
            chosen = {SELECT.name: selected[parent]} if parent in selected else {}
            return rows.setdefault((parent, name), {"branch": name, **chosen})

        for stage in finished:
            if stage.kind == SELECT.name:
                row(stage.fingerprint, stage.branch)
            elif stage.kind == RETRAIN.name:
                row(stage.parent, stage.branch)[stage.kind] = stage.result
            elif stage.kind == TRANSFER.name:
                dataset = stage.branch.removeprefix(f"{stage.source}-")
                row(stage.parent, stage.source).setdefault(stage.kind, {})[dataset] = stage.result
        return list(rows.values())


def _remove_half_made(family: Path) -> None:
    """Remove unfinished versions that killed commands have left."""
    for path in family.glob(".v*"):
        if re.fullmatch(r"\.v\d{3,}\.[0-9a-f]{32}", path.name) and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def _versions(family: Path) -> dict[int, Path]:
    """Return the version folders by number, in order; a user's `v001.old` does not count."""
    found = [path for path in family.glob("v*") if re.fullmatch(r"v\d{3,}", path.name)]
    return dict(sorted((int(path.name[1:]), path) for path in found))
