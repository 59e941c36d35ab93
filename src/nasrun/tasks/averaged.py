"""A learner whose weights are averaged over its steps, by torch's own `AveragedModel`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nasrun.data.splits import Split
from nasrun.stage import Metrics
from nasrun.tasks.base import Batch, ImageTask, Learner, Sliced
from nasrun.world import World


class Averaged(Learner):
    """average <- decay average + (1 - decay) weights, after every step; the average is evaluated.

    Weights and running statistics are averaged alike; the average begins with the weights after the
    first step. The network is trained as without it.
    """

    def __init__(self, learner: Learner, task: ImageTask, world: World, decay: float) -> None:
        self.learner, self.task, self.world = learner, task, world
        self.network = learner.network
        self.average = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
        )

    @property
    def delivered(self) -> nn.Module:
        return self.average.module

    @property
    def first_lr(self) -> float:
        return self.learner.first_lr

    def train(self, batches: Iterable[Sliced | Batch], lr: float) -> Metrics:
        losses = self.learner.train(self._followed(batches), lr)
        self.world.settle(self.delivered)
        return losses

    def _followed(self, batches: Iterable[Sliced | Batch]) -> Iterator[Sliced | Batch]:
        for batch in batches:
            yield batch  # whoever asks for the next one has made a step on it
            self.average.update_parameters(self.network)

    def evaluate(self, split: Split, batch_size: int) -> Metrics:
        self.delivered.eval()
        return self.task.evaluate(self.delivered, split, batch_size)

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict(), "average": self.average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.average.load_state_dict(state["average"])
