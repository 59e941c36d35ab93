"""A trained network whose search is over is measured, tested and written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from nasrun.genotype import Genotype
from nasrun.spaces.base import Space
from nasrun.streams import named, restored
from nasrun.tasks.base import ImageMembersTask, MemberLearner, PopulationTask
from nasrun.trained import Trained


@dataclass(frozen=True)
class Delivery:
    """Measures and writes networks of a search that trained them.

    `seed` is the search's; `end` is the number of its last interval, or larger.
    """

    space: Space
    task: PopulationTask
    seed: int
    end: int

    def network(self, genotype: Genotype, seed: int) -> nn.Module:
        """Return a newly initialised network."""
        with restored():
            torch.manual_seed(seed)
            task = self.task
            return self.space.network(genotype, inputs=task.inputs, outputs=task.outputs)

    def learner(self, genotype: Genotype, trained: Trained, purpose: str) -> MemberLearner:
        """Return a learner that continues from this training state."""
        network = self.network(genotype, named(self.seed, 0, 0, purpose))
        learner = self.task.learner(network)
        learner.load(trained)
        return learner

    def score(self, genotype: Genotype, trained: Trained, purpose: str) -> float:
        """Return the task's objective; `purpose` names the stream of randomness."""
        learner = self.learner(genotype, trained, purpose)
        with restored():
            torch.manual_seed(self._stream(purpose))
            return learner.evaluate()[self.task.objective]

    def deliver(self, genotype: Genotype, trained: Trained, folder: Any) -> dict[str, Any]:
        """Write weights and pictures, and return entries for `result.json`, with a test."""
        weights = dict(trained.network)
        for name, average in trained.averages.items():
            weights |= {f"{name}/{key}": tensor for key, tensor in average.items()}
        folder.save_weights(weights)
        learner = self.learner(genotype, trained, "deliver")
        with restored():
            torch.manual_seed(self._stream("test"))
            tested = {f"test_{name}": value for name, value in learner.test().items()}
            pictures = learner.show(folder.path / "best")
            network = self.network(genotype, self._stream("untrained"))
            torch.manual_seed(self._stream("test"))  # the same test
            untrained = self.task.learner(network).test()
        params = sum(parameter.numel() for parameter in learner.network.parameters())
        note = "  ".join(f"{name} {value:.4g}" for name, value in tested.items())
        lower = {"higher_is_better": False} if self.task.lowers_test else {}
        return {
            "judged_by": f"test_{self.task.tested}",
            **lower,
            **tested,
            "untrained": untrained,
            "params": params,
            **self._data(),
            "pictures": pictures,
            "note": note,
        }

    def _data(self) -> dict[str, Any]:
        """Return the facts of the images that a network classifies; nothing for another task."""
        if not isinstance(self.task, ImageMembersTask):
            return {}
        return {"data": asdict(self.task.images.facts)}

    def _stream(self, purpose: str) -> int:
        return named(self.seed, self.end, 0, purpose)
