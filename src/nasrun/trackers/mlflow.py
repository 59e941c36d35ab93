"""MLflow: one run per nasrun run, in a local store or on a server.

A run is found by its tag `nasrun.run`, so that a command that continues one continues its MLflow
run. It has no child runs: the stages are one result, their numbers have the stage's name, and so a
row of MLflow's table is one nasrun run with all its results. A sweep is a tag to group by.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nasrun.stage import Metrics
from nasrun.trackers.base import (
    PATIENCE,
    Ending,
    SavedRound,
    StageEnd,
    TrackedRun,
    Tracker,
    require,
)

if TYPE_CHECKING:
    from mlflow.entities import Metric

AMBIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the mirror tries again
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(PATIENCE),
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it draws from Python's global generator, as stages may
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Settings that MLflow reads from the environment alone; what a user has set there stays."""
METRICS, PARAMS = 1000, 100
"""Most metrics and parameters in one call."""
LONGEST = 500
"""Most characters of a parameter on all servers."""
ENDINGS: Mapping[Ending, str] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class MLflow(Tracker):
    """A run in an MLflow experiment; `uri=None` is `MLFLOW_TRACKING_URI`, else MLflow's default."""

    def __init__(self, *, uri: str | None, experiment: str) -> None:
        self.uri, self.experiment = uri, experiment
        self._status = ""

    def check(self) -> None:
        uri = self.uri or os.environ.get("MLFLOW_TRACKING_URI", "sqlite:")
        require("mlflow", "mlflow", *(("sqlalchemy", "alembic") if "sqlite:" in uri else ()))

    def open(self, run: TrackedRun) -> Metrics:
        for name, value in AMBIENT.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._client = MlflowClient(tracking_uri=self.uri)
        experiment, mark = self._experiment(), f"tags.`nasrun.run` = '{run.mark}'"
        found = self._client.search_runs([experiment], mark, max_results=1)
        made = found[0] if found else self._begin(experiment, run)
        self._id, self._status = made.info.run_id, made.info.status
        if run.sweep and made.data.tags.get("nasrun.sweep") != run.sweep:
            self._client.set_tag(self._id, "nasrun.sweep", run.sweep)
        if any(_named(key) not in made.data.params for key in run.settings):  # new, or partly lost
            self.describe("search", run.settings)
        known: Metrics = made.data.metrics
        return known

    def spelled(self, name: str) -> str:
        return _named(name)

    def describe(self, stage: str, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(_named(key), str(value)[:LONGEST]) for key, value in settings.items()]
        for start in range(0, len(params), PARAMS):
            self._client.log_batch(self._running, params=params[start : start + PARAMS])

    def log(self, stage: str, rounds: Sequence[SavedRound]) -> None:
        metrics: list[Metric] = []
        for each in rounds:
            own = list(_metrics(each.numbers, each.round, each.time))
            if len(metrics) + len(own) > METRICS:
                self._client.log_batch(self._running, metrics)
                metrics = []
            metrics += own
        self._client.log_batch(self._running, metrics)

    def conclude(self, stage: str, end: StageEnd) -> None:
        import time

        for path in end.pictures:
            self._client.log_artifact(self._running, str(path), stage)
        if end.genotype is not None:
            written, file = end.genotype
            self._client.log_artifact(self._running, str(file), stage)
            self._client.set_tag(self._running, _named(f"{stage}/genotype"), written[:LONGEST])
        metrics = list(_metrics(end.numbers, end.round, time.time()))
        self._client.log_batch(self._running, metrics)

    def close(self, ending: Ending) -> None:
        if self._status == "RUNNING":
            self._client.set_terminated(self._id, ENDINGS[ending])
            self._status = ENDINGS[ending]

    @property
    def _running(self) -> str:
        """The id of the run, which is marked as being at work."""
        if self._status != "RUNNING":
            self._client.update_run(self._id, "RUNNING")
            self._status = "RUNNING"
        return self._id

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                made: str = self._client.create_experiment(self.experiment)
                return made
            except MlflowException:  # another command has made it
                found = self._client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        known: str = found.experiment_id
        return known

    def _begin(self, experiment: str, run: TrackedRun) -> Any:
        tags = {f"nasrun.{key}": value for key, value in run.facts.items()}
        tags |= {"nasrun.run": run.mark, "nasrun.folder": str(run.folder)}
        if "git" in run.facts:
            tags["mlflow.source.git.commit"] = run.facts["git"]
        return self._client.create_run(experiment, run_name=run.name, tags=tags)


def _metrics(numbers: Metrics, step: int, when: float) -> Iterator[Metric]:
    from mlflow.entities import Metric

    for name, value in numbers.items():
        yield Metric(_named(name), value, int(1000 * when), step)


def _named(name: str) -> str:
    """Return a name without the characters that MLflow refuses."""
    return re.sub(r"[^\w\-. :/]", "_", name)
