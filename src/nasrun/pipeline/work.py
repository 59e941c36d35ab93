"""The execution of a plan in a run: shared facts of its stages, and how each is run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nasrun.config.stages import KINDS, SELECT
from nasrun.display import say, watch
from nasrun.divergence import Diverged, below
from nasrun.genotype import Genotype, fingerprint
from nasrun.pipeline.plan import Plan
from nasrun.retrain import Retrain
from nasrun.runs.code import changed, digests
from nasrun.runs.differences import settings, why_new
from nasrun.runs.log import Log, note_command
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import StageFolder
from nasrun.runs.unwritten import Unwritten
from nasrun.spaces.base import Space
from nasrun.stage import Stage, drive
from nasrun.strategies.base import PopulationStrategy
from nasrun.trackers.mirror import Tracking

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Chosen:
    """A genotype to train, the name of its branch, and the fingerprint of its origin."""

    branch: str
    genotype: Genotype
    mark: str


@dataclass
class Work:
    """The stages of a plan in a run; `done` has the folders of those that are done.

    ready: the first stage, if it has begun already, so that its refusal leaves no folder.
    noted: whether the command is recorded in the run, which happens once it does something.
    outdated: whether the user knows that a finished stage has run with earlier code.
    """

    plan: Plan
    run: Run
    console: Console
    ready: Stage | None
    tracked: Tracking
    done: list[StageFolder] = field(default_factory=list)
    noted: bool = False
    outdated: bool = False

    @property
    def selected(self) -> StageFolder | None:
        """The selection whose genotype is trained: this command's, else that of the source."""
        own = [folder for folder in self.done if folder.kind == SELECT.name]
        source = self.plan.source
        return own[-1] if own else source.selected if source is not None else None

    @property
    def chosen(self) -> Chosen:
        """The genotype that is trained."""
        found = chosen(self.plan, self.selected)
        assert found is not None
        return found

    @property
    def ready_training(self) -> Retrain | None:
        """The training that has begun already, if the command begins with it."""
        return self.ready if isinstance(self.ready, Retrain) and not self.done else None

    def tell_why_new(self, folder: StageFolder, own: Mapping[str, Any]) -> None:
        """Print why a branch is begun beside another of its name."""
        same = (folder.kind, folder.option)
        others = [each for each in self.run.stages() if (each.kind, each.option) == same]
        if others and all(stage.path != folder.path for stage in others):
            newest = max(others, key=lambda stage: stage.path.stat().st_mtime_ns)
            ours, theirs = (settings(self.run.config, each) for each in (own, newest.config))
            if (text := why_new(ours, theirs, newest.branch)) is not None:
                say(self.console, f"{folder.title}: {text}")

    @cached_property
    def code(self) -> dict[str, str]:
        """Digests of the code that runs here, by package."""
        return digests(self.plan.trusted)

    def tell_changed_code(self, folder: StageFolder) -> None:
        """Warn if other code has run a stage than would run it now, once for finished stages."""
        if not (names := changed(folder.code, self.code)):
            return
        packages, anew = " and ".join(names), "outputs=DIR begins anew in another folder"
        if not folder.finished:
            warnings.warn(
                f"{folder.title}: the code of {packages} has changed since its last round; the "
                f"next rounds run the new code, {anew}",
                stacklevel=2,
            )
        elif not self.outdated:
            self.outdated = True
            warnings.warn(
                f"{folder.title}: the code of {packages} has changed since it was finished; this "
                f"is the result of the earlier code, {anew}",
                stacklevel=2,
            )

    def drive(self, folder: StageFolder, begin: Callable[[], Stage]) -> StageFolder:
        """Begin a stage if it is not finished, and run its rounds under a display.

        Of the processes that share the work, only the leader writes.
        """
        world = self.plan.budget.world
        world.meet()  # all know by now which folder it is, and the leader may write
        if world.leads:
            self.tell_changed_code(folder)
        if world.first(lambda: folder.finished):
            return folder
        if self.done:
            self.plan.budget.check()  # the hours may have ended with the last round of a stage
        stage = begin()
        if isinstance(stage, PopulationStrategy) and stage.needs:
            self.console.print(f"needs {stage.needs}", highlight=False, markup=False)
        self.note()
        self.plan.streams.enter(folder.kind)
        try:
            with below(KINDS[folder.kind].made_of):
                self._rounds(stage, folder)
        except Diverged as error:
            where = "the last round" if stage.done else f"round {stage.round + 1}"
            raise ValueError(
                f"{folder.title}: {where}: {error.happened}; the rounds before it are kept, "
                f"{error.advice}"
            ) from error
        world.meet()  # the result is written
        return folder

    def note(self) -> None:
        """Record the command in the run, once it does something."""
        world = self.plan.budget.world
        if world.leads and not self.noted and self.plan.command:
            note_command(self.run, self.plan.command, world.size)
            self.noted = True

    def _rounds(self, stage: Stage, folder: StageFolder) -> None:
        budget, streams = self.plan.budget, self.plan.streams
        if not budget.world.leads:
            with TemporaryDirectory() as place:
                drive(stage, Unwritten(Path(place)), budget, streams)
            return
        folder.go_on(self.code)
        with watch(self.console, folder.title, self.plan.progress) as display:
            observers = [display, Log(self.run, folder.title), *self.tracked.observers(folder)]
            drive(stage, folder, budget, streams, observers)


def chosen(plan: Plan, selected: StageFolder | None) -> Chosen | None:
    """Return the genotype that the command names, or that was selected; `None` before that."""
    if plan.genotype is not None:
        name = str(plan.genotype_name)
        return Chosen(name, plan.genotype, fingerprint(plan.genotype.to_json()))
    if selected is not None:
        return Chosen(selected.branch, read_genotype(selected, plan.space), selected.fingerprint)
    return None


def read_genotype(folder: StageFolder, space: Space) -> Genotype:
    """Return the genotype that a selection chose."""
    return space.check(Genotype.read(folder.path / "genotype.json"))
