"""The discretisation gap: the accuracy lost when an architecture is cut out of a supernet.

SNAS (1812.09926) claims a small gap, DARTS's is known to be large. The supernet is measured as its
strategy measures it, with batch statistics; so is the child, with the supernet's weights. Then the
child is repaired: batch norms get new running statistics, and it is trained for one epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from nasrun.divergence import finite
from nasrun.genotype import Genotype
from nasrun.spaces.supernet import batch_statistics
from nasrun.stage import Metrics, Rehearsal, Step, tracked
from nasrun.strategies.base import SupernetStrategy
from nasrun.supernet.mixture import Mixture
from nasrun.supernet.supernet import Supernet, argmax
from nasrun.tasks.base import Forward, Split

SAMPLES = 4  # ours: validation passes with a new sample of the mixture
TUNING = partial(
    torch.optim.SGD,
    lr=0.0025,  # DARTS-PT's released code: a tenth of the search's first rate
    momentum=0.9,  # DARTS sec. 3.1
    weight_decay=3.0e-4,  # DARTS sec. 3.1
)
CLIP = 5.0  # DARTS's released code


def discretise(strategy: SupernetStrategy, genotype: Genotype) -> Metrics:
    """Return validation accuracies of a supernet and of its child, and their difference.

    With the name of the task's objective in place of `accuracy`:

    - `supernet_accuracy` of the mean mixture, `supernet_argmax_accuracy` of every decision's
      likeliest choice, `supernet_sampled_accuracy` of sampled mixtures, if training samples them;
    - `child_accuracy` of the genotype with inherited weights, `child_running_accuracy` with the
      supernet's running statistics, `child_recalibrated_accuracy` with its own statistics,
      `child_tuned_accuracy` after one more epoch of training;
    - `gap`, which is `supernet_accuracy` minus `child_accuracy`.

    Random numbers come from the strategy's streams; the strategy is not changed.
    """
    supernet, task, objective = strategy.supernet, strategy.task, strategy.task.objective

    def measured(forward: Forward) -> float:
        return task.evaluate(forward, strategy.validation, strategy.measured_together)[objective]

    def measured_at(mixture: Mixture) -> float:
        return strategy.metrics_at(mixture)[objective]

    drawn = _drawn(supernet)
    with torch.no_grad():
        mean = supernet.mixture(sampled=False)
    metrics = {
        f"supernet_{objective}": measured_at(mean),
        f"supernet_argmax_{objective}": measured_at(supernet.at(supernet.genotype(argmax))),
    }
    if drawn:
        total = sum(measured_at(mixture) for mixture in drawn)
        metrics[f"supernet_sampled_{objective}"] = total / SAMPLES

    learner = task.learner(_child(strategy, genotype), optimizer=TUNING, clip=CLIP)
    child = learner.network
    with batch_statistics(child):
        metrics[f"child_{objective}"] = measured(child)
    child.eval()
    metrics[f"child_running_{objective}"] = measured(child)
    recalibrate(child, strategy.train, strategy.batch_size)
    metrics[f"child_recalibrated_{objective}"] = measured(child)
    order = torch.randperm(len(strategy.train), generator=strategy.streams("order"))
    changes = strategy.streams("augment")
    batches = task.batches(strategy.train, strategy.batch_size, order, changes)
    sound = finite(learner.train(batches, learner.first_lr), child)
    child.eval()
    metrics[f"child_tuned_{objective}"] = measured(child) if sound else math.nan
    metrics["gap"] = metrics[f"supernet_{objective}"] - metrics[f"child_{objective}"]
    return metrics


def rehearsals(strategy: SupernetStrategy) -> Iterator[Rehearsal]:
    """Yield rehearsals of `discretise` for a strategy that has begun."""
    task, images = strategy.task, strategy.train
    child = _child(strategy, strategy.supernet.space.sample())
    learner = task.learner(child, optimizer=TUNING, clip=CLIP)

    def play(step: Step) -> None:
        batches = task.batches(images, strategy.batch_size, torch.randperm(len(images)))
        steps = math.ceil(len(images) / strategy.batch_size)
        learner.train(tracked(batches, steps, step), learner.first_lr)

    def rest() -> None:
        learner.evaluate(strategy.validation, strategy.measured_together)

    yield Rehearsal(1, play, 5, rest)  # five passes: one of the likeliest path, four of the child
    yield Rehearsal(rests=1 + len(_drawn(strategy.supernet)), rest=strategy.validate)


def _drawn(supernet: Supernet) -> list[Mixture]:
    """Return mixtures as training samples them; an empty list if all samples are equal."""
    with torch.no_grad():
        drawn = [supernet.mixture(sampled=True) for _ in range(SAMPLES)]
    same = all(torch.equal(mixture.weights, drawn[0].weights) for mixture in drawn)
    return [] if same else drawn


def _child(strategy: SupernetStrategy, genotype: Genotype) -> nn.Module:
    """Return the network of the genotype alone, with its weights from the supernet."""
    supernet, task = strategy.supernet, strategy.task
    child = supernet.space.network(
        genotype, inputs=task.inputs, outputs=task.outputs, layout=strategy.layout
    )
    weights = supernet.network.state_dict()
    child.load_state_dict({name: weights[name] for name in child.state_dict()})
    return child


@torch.no_grad()
def recalibrate(network: nn.Module, split: Split, batch_size: int) -> None:
    """Estimate all running statistics again, as means over one pass without augmentation."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the plain average over all batches
    network.train()
    lonely = len(split) % batch_size == 1  # batch norm has no variance over one image
    for images, _ in split.batches(batch_size, drop_last=lonely):
        network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
