"""Image generation: a hinge GAN whose averaged generator is scored by a Frechet distance.

This is AdversarialNAS's training as PBT-NAS uses it (2307.15621): the discriminator is trained on
every batch, the generator after the first of every `generator_every` batches, on more samples; the
generator's weights are averaged, its batch statistics are copied.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasrun.budget import Budget
from nasrun.data.base import Dataset
from nasrun.files import write_whole
from nasrun.machine import sent
from nasrun.networks import Adversaries
from nasrun.refusing import refuse_below
from nasrun.stage import Metrics
from nasrun.tasks.base import MemberLearner, OptimizerFactory, PopulationTask
from nasrun.tasks.frechet import Distance, pixels
from nasrun.tasks.moments import moments_of, parameters, restore_moments
from nasrun.trained import Trained, state_of

SAMPLED_AT_ONCE = 500
SHOWN = 100


class ImageGeneration(PopulationTask):
    """Images like those of a data set, by a hinge GAN; fitness is minus the Frechet distance.

    An interval is `steps` steps of the discriminator on `batch_size` real and as many generated
    images. The first of every `generator_every` steps also trains the generator, on
    `generator_batch` samples.
    `ema` is the share of the averaged generator that is kept in each of the generator's steps.
    """

    learns_from = Dataset
    trains = Adversaries
    objective = "fitness"
    tested = "fid"
    lowers_test = True

    def __init__(
        self,
        *,
        steps: int,
        batch_size: int,
        generator_every: int,
        generator_batch: int,
        ema: float,
        optimizer: OptimizerFactory,
        distance: Distance,
    ) -> None:
        if not 0 <= ema < 1:
            raise ValueError(f"ema={ema}: use 0 (no average) or more, but less than 1")
        self.steps = steps
        self.batch_size = batch_size
        self.generator_every = generator_every
        self.generator_batch = generator_batch
        refuse_below(self, steps=1, batch_size=2, generator_every=1, generator_batch=2)
        self.ema = ema
        self.optimizer = optimizer
        self.distance = distance

    def begin(self, dataset: Dataset, budget: Budget) -> None:
        self.dataset, self.budget = dataset, budget
        self.facts = dataset.facts()
        self.inputs = self.outputs = self.facts.channels
        self.distance.begin(dataset, budget)
        self._images: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the images: a process that receives the task reads them itself."""
        return {**self.__dict__, "_images": None}

    @property
    def images(self) -> Tensor:
        """The training images, (N, C, H, W) uint8: all but the test images."""
        if self._images is None:
            device = self.budget.torch_device
            self._images, _ = pixels(self.dataset, "train", "validation", device=device)
        return self._images

    def check(self, network: nn.Module) -> None:
        assert isinstance(network, Adversaries)
        if network.size != self.facts.size:
            raise ValueError(
                f"space: makes images of {network.size} pixels, and those of the data set have "
                f"{self.facts.size}; change space.bottom, space.num_cells or dataset.size"
            )

    def needs(self, network: nn.Module, members: int, intervals: int) -> str:
        steps = members * intervals * self.steps
        if steps < 1_000_000:
            return ""
        return f"{steps / 1e6:.0f} million discriminator steps in all: GPU-days"

    def learner(self, network: nn.Module) -> GanLearner:
        return GanLearner(self, network)


class GanLearner(MemberLearner):
    """A generator, its average, a discriminator and their optimizers."""

    def __init__(self, task: ImageGeneration, network: nn.Module) -> None:
        assert isinstance(network, Adversaries)
        task.budget.apply_in_process()  # a worker process has its own settings
        self.task, self.device = task, task.budget.torch_device
        self.network = network.to(self.device)
        self.latent = network.latent
        self.generator, self.discriminator = network.generator, network.discriminator
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.generated_by = parameters(self.network, "generator")
        self.generator_optimizer = task.optimizer(self.generated_by)
        self.discriminator_optimizer = task.optimizer(parameters(self.network, "discriminator"))
        self.slow: list[Tensor] = list(self.average.parameters())
        self.steps = 0

    def train_interval(self) -> Metrics:
        self.network.train()
        losses: dict[str, list[Tensor]] = {"discriminator_loss": [], "generator_loss": []}
        for real in self._batches():
            losses["discriminator_loss"].append(self._train_discriminator(real))
            if self.steps % self.task.generator_every == 0:
                losses["generator_loss"].append(self._train_generator())
            self.steps += 1
        return {
            name: float(torch.stack(values).mean()) for name, values in losses.items() if values
        }

    def _batches(self) -> Iterator[Tensor]:
        """Yield an interval's batches, in passes over all images in random order."""
        images, size = self.task.images, min(self.task.batch_size, len(self.task.images))
        left = self.task.steps
        while left:
            order = sent(torch.randperm(len(images)), self.device)
            for index in order.split(size)[: min(left, len(images) // size)]:
                left -= 1
                yield images[index].float() / 127.5 - 1

    def _train_discriminator(self, real: Tensor) -> Tensor:
        """Descend E max(0, 1 - D(x)) + E max(0, 1 + D(G(z)))."""
        with self.task.budget.autocast():
            with torch.no_grad():
                fake = self.generator(self._noise(len(real)))
            on_real, on_fake = self.discriminator(torch.cat([real, fake])).float().chunk(2)
            loss = F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        self.discriminator_optimizer.step()
        return loss.detach()

    def _train_generator(self) -> Tensor:
        """Ascend E D(G(z)), then update the average."""
        with self.task.budget.autocast():
            fake = self.generator(self._noise(self.task.generator_batch))
            loss = -self.discriminator(fake).float().mean()
        self.generator_optimizer.zero_grad()
        loss.backward(inputs=self.generated_by)
        self.generator_optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.slow, self.generated_by, 1 - self.task.ema)
            for slow, fast in zip(self.average.buffers(), self.generator.buffers(), strict=True):
                slow.copy_(fast)
        return loss.detach()

    def _noise(self, count: int) -> Tensor:
        return sent(torch.randn(count, self.latent), self.device)

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Return images (count, C, H, W) uint8 of the averaged generator."""
        self.average.eval()
        parts = []
        for start in range(0, count, SAMPLED_AT_ONCE):
            with self.task.budget.autocast():
                images = self.average(self._noise(min(SAMPLED_AT_ONCE, count - start)))
            parts.append(((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
        return torch.cat(parts)

    def evaluate(self) -> Metrics:
        metrics = self.task.distance.search(self.sample)
        fid = metrics["fid"]
        return {**metrics, "fitness": -fid if math.isfinite(fid) else -math.inf}

    def test(self) -> Metrics:
        return self.task.distance.report(self.sample)

    def show(self, path: Path) -> list[str]:
        from torchvision.utils import make_grid, save_image

        images = self.sample(SHOWN).cpu()
        grid = make_grid(images.float() / 255, nrow=10, padding=1, pad_value=0.5)
        scale = max(1, 480 // grid.shape[-1])
        name = path.with_name(path.name + ".png")
        large = grid.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
        write_whole(name, lambda file: save_image(large, file, format="png"))
        return [name.name]

    def trained(self) -> Trained:
        optimizers = [self.generator_optimizer, self.discriminator_optimizer]
        return Trained(
            network=state_of(self.network),
            averages={"ema": state_of(self.average, "generator.")},
            moments=moments_of(self.network, optimizers),
            memory={"steps": self.steps},
        )

    def load(self, trained: Trained) -> None:
        self.network.load_state_dict(trained.network)
        average = {n.removeprefix("generator."): t for n, t in trained.averages["ema"].items()}
        self.average.load_state_dict(average)
        optimizers = [self.generator_optimizer, self.discriminator_optimizer]
        restore_moments(self.network, optimizers, trained.moments)
        self.steps = trained.memory["steps"]
