"""The folder of one stage: its state, its logs and its result."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.config.stages import SEARCH, STAGES
from nasrun.data.contents import Contents
from nasrun.files import (
    Types,
    digest_of,
    read_json,
    typed,
    write_json,
    write_record,
    write_whole,
    write_yaml,
)
from nasrun.machine import memory_gib
from nasrun.runs.code import Code, continued
from nasrun.runs.recorded import recorded, write_contents
from nasrun.runs.rows import METRICS, TIMING, LoggedRows, finished_rows, rows_at_work
from nasrun.runs.state import PREVIOUS, STATE, code_of, read_state, write_state
from nasrun.stage import Metrics

if TYPE_CHECKING:
    from torch import Tensor

    from nasrun.stage import Stage

RESULT: Types = {
    **dict.fromkeys(("genotype", "note", "judged_by", "trained_on", "stopped"), str),
    **dict.fromkeys(("true", "data", "digests", "code", "untrained"), dict),
    "sizes": list,
}
ORIGIN: Types = dict.fromkeys(("fingerprint", "parent", "source"), str)
"""Types of keys in a stage's configuration."""
WEIGHTS, CLASSES = "weights.safetensors", "classes.json"
LATER = tuple(kind.name for kind in STAGES if kind is not SEARCH)
"""Names of the stages that have branches."""
COUNTED = re.compile(r"(^|_)(seconds|ns|params|macs|gap|accuracy|loss)$")
"""Names of numbers in a result."""


class StageFolder:
    """The folder of a stage's state, metrics and result.

    It is made with the first save, so that a stage that is refused at its start leaves nothing.
    """

    def __init__(
        self,
        path: Path,
        mark: str,
        config: dict[str, Any] | None = None,
        contents: Contents | None = None,
        earlier: StageFolder | None = None,
    ) -> None:
        self.path = path
        self.fingerprint = mark
        self._config = config
        self._contents = contents
        self._earlier = earlier
        self._started = time.monotonic()
        self._round_started = self._started
        self._spent = 0.0
        self._rows = LoggedRows(path)
        self._digests: dict[str, str] = {}
        self._code: Code = {}

    @property
    def kind(self) -> str:
        """One of search, select, retrain and transfer."""
        folder = self.path.parent
        of_run = self.path.name == SEARCH.name and (folder / "run.json").exists()
        return folder.name if folder.name in LATER and not of_run else SEARCH.name

    @property
    def branch(self) -> str:
        """Name of the branch, empty for the search."""
        return "" if self.kind == SEARCH.name else self.path.name

    @property
    def option(self) -> str:
        """The branch without the number of a further one: `perturb` for `perturb-2`."""
        return re.sub(r"-\d+$", "", self.branch)

    @property
    def run(self) -> Path:
        """Folder of the run that the stage belongs to."""
        return self.path.parent if self.kind == SEARCH.name else self.path.parent.parent

    @property
    def source(self) -> str:
        """Branch or published cell whose genotype a retraining or transfer trains."""
        return self.config["source"]

    @property
    def parent(self) -> str:
        """Fingerprint of the search, selection or genotype that a later stage reads."""
        path = self.path / "config.yaml"
        return typed(path, recorded(path, "parent"), ORIGIN)["parent"]

    @property
    def title(self) -> str:
        """The stage and its branch, for messages."""
        return " ".join(filter(None, (self.kind, self.branch)))

    @property
    def finished_at(self) -> int:
        """Time at which the stage was finished, in nanoseconds; a copied file has another time."""
        path = self.path / "result.json"
        with suppress(ValueError):  # a damaged result is named once it is read
            return int(self.result.get("finished_ns") or path.stat().st_mtime_ns)
        return path.stat().st_mtime_ns

    @property
    def config(self) -> dict[str, Any]:
        """The stage's own resolved groups, its fingerprint and its parent's."""
        path = self.path / "config.yaml"
        return typed(path, recorded(path, "fingerprint"), ORIGIN)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the stage; for the search, those of the run."""
        return self.config if self.kind != SEARCH.name else recorded(self.run / "config.yaml")

    @property
    def restorable(self) -> bool:
        """Return whether its state is there."""
        return (self.path / STATE).is_file()

    @property
    def begun(self) -> bool:
        """Return whether the stage has any file; a folder alone does not count."""
        names = ("config.yaml", "result.json", STATE, WEIGHTS)
        return any((self.path / name).exists() for name in names)

    @property
    def finished(self) -> bool:
        """Return whether the stage has a result."""
        return (self.path / "result.json").is_file()

    @property
    def trained(self) -> bool:
        """Return whether there are weights, which are written before the result."""
        return (self.path / WEIGHTS).exists()

    @property
    def result(self) -> dict[str, Any]:
        """Content of `result.json`; ValueError if it is damaged."""
        path = self.path / "result.json"
        content = typed(path, read_json(path, "seconds"), RESULT)
        for name, value in content.items():
            absent = value is None and name != "seconds"
            counted = COUNTED.search(name) or name == content.get("judged_by")
            if counted and not absent and type(value) not in (int, float):
                raise ValueError(f"{path}: damaged, {name} is no number")
        return content

    @property
    def code(self) -> Code:
        """Digests of the code that its rounds ran with; empty before the first, or if unknown."""
        if self.finished:
            return self.result.get("code", {})
        return code_of(self.path) or (self._earlier.code if self._earlier is not None else {})

    @property
    def classes(self) -> dict[str, Any]:
        """The test results by class, empty if there are none; ValueError if they are damaged."""
        path = self.path / CLASSES
        if not self.finished or not path.is_file():
            return {}
        content: dict[str, Any] = read_json(path, "classes")["classes"]
        return content

    @property
    def saved(self) -> list[Metrics]:
        """The rounds in `metrics.jsonl` of a stage that runs here, without reading the file."""
        return list(self._rows.by_file.get(METRICS, ()))

    def metrics(self) -> list[Metrics]:
        """Return the rounds in `metrics.jsonl`; ValueError if it is damaged."""
        return self._logged(METRICS)

    def timing(self) -> list[Metrics]:
        """Return the rounds in `timing.jsonl`: seconds, and the process's peak memory so far."""
        return self._logged(TIMING)

    def _logged(self, name: str) -> list[Metrics]:
        """Return the rows of a log; ValueError if it is not what was written."""
        path = self.path / name
        if self.finished:
            return finished_rows(path, self.result.get("digests", {}).get(name))
        return rows_at_work(path)

    def go_on(self, code: Mapping[str, str]) -> None:
        """Note the code, a digest per package, that its next rounds run with."""
        self._code = continued(self.code, code)

    def restore(self, stage: Stage) -> None:
        """Load the last saved state into a stage that has begun."""
        self.path.mkdir(parents=True, exist_ok=True)
        if self._config is not None:
            write_contents(self.path, self._contents)
            write_yaml(self.path / "config.yaml", self._config)
        state = read_state(self.path, repair=True)
        if state is None and self._earlier is not None:
            state = self._earlier.last_state()
        if state is not None:
            self._load(stage, state)
            self._spent = state["seconds"]
        self._rows.restore(stage.round, state)
        self._started = self._round_started = time.monotonic()

    def _load(self, stage: Stage, state: Mapping[str, Any]) -> None:
        """Load a state into a stage; ValueError if it does not fit."""
        try:
            stage.load_state_dict(state["stage"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(
                f"{self.path / STATE}: does not fit, probably because the code or its version has "
                f"changed since ({reason}); go back to the earlier version, or delete {self.path} "
                "to run this stage again"
            ) from error
        stage.round = state["round"]

    def load(self, stage: Stage) -> None:
        """Load a finished stage's state into `stage`."""
        state = self.last_state()
        stage.enter(self.path)
        self._load(stage, state)

    def last_state(self) -> dict[str, Any]:
        """Return the final state of a finished stage; ValueError if it is missing or damaged."""
        state = read_state(self.path, repair=False)
        again = f"type `nasrun search run={self.run}`"
        if self.kind != SEARCH.name:
            again = f"repeat the command that made it, which {self.run}/commands.jsonl has,"
        if state is None:
            raise ValueError(
                f"{self.path}: its state is gone, as after `nasrun clean`; delete result.json "
                f"there and {again} to train it again"
            )
        done = len(self.metrics())
        if state["round"] != done:
            raise ValueError(
                f"{self.path / STATE}: damaged, and the state before it is of round "
                f"{state['round']} of {done}; delete {self.path / 'result.json'} and {again} to "
                "redo what is missing"
            )
        return state

    def log(self, round: int, metrics: Metrics) -> None:
        """Append a round's metrics; wall-clock times go to a separate file."""
        now = time.monotonic()
        self._rows.append(METRICS, {"round": round, **metrics})
        timing = {"round": round, "seconds": now - self._round_started, "memory_gib": memory_gib()}
        self._rows.append(TIMING, timing)
        self._round_started = now

    def save(self, stage: Stage) -> None:
        """Write a new state, and keep the previous one."""
        seconds = self._spent + time.monotonic() - self._started
        state = {"round": stage.round, "stage": stage.state_dict(), "seconds": seconds}
        state["rows"] = self._rows.by_file
        write_state(self.path, state, self._rows.marks, self._code)

    def save_weights(self, tensors: dict[str, Tensor]) -> None:
        """Write a trained network's weights; their digest goes into the result."""
        from safetensors.torch import save

        content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        self._digests[WEIGHTS] = write_whole(self.path / WEIGHTS, lambda file: file.write(content))

    def write(self, name: str, content: Any) -> None:
        """Write a JSON file into the stage's folder."""
        put = write_record if isinstance(content, Mapping) else write_json
        put(self.path / name, content)

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result; then the stage is finished.

        The previous state is kept only for a search, which later stages read.
        """
        if self.kind != SEARCH.name:
            (self.path / PREVIOUS).unlink(missing_ok=True)
        seconds = self._spent + time.monotonic() - self._started
        logs = [path for name in (METRICS, TIMING) if (path := self.path / name).exists()]
        digests = self._digests | {path.name: digest_of(path) for path in logs}
        ends = {"seconds": round(seconds, 3), "finished_ns": time.time_ns()}
        origin = {"digests": digests, "code": self._code}
        write_record(self.path / "result.json", {**result, **origin, **ends})

    def amend(self, facts: dict[str, Any]) -> None:
        """Add facts to the result of a finished stage."""
        if not facts.items() <= self.result.items():
            write_record(self.path / "result.json", {**self.result, **facts})
