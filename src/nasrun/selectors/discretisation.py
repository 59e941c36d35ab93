"""What an architecture loses when it is cut out of a supernet, without any retraining.

SNAS (1812.09926) claims that its loss is small, DARTS's known large. The supernet is measured as
its strategy does, batch norms by the batch; so is the child, with the supernet's own weights.
Then what is needed to repair it: batch norms whose running statistics are estimated anew, and one
epoch of training.
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

SAMPLES = 4  # ours: validation passes with a mixture drawn anew
TUNING = partial(
    torch.optim.SGD,
    lr=0.0025,  # DARTS-PT's released code: a tenth of the search's first rate
    momentum=0.9,  # DARTS sec. 3.1
    weight_decay=3.0e-4,  # DARTS sec. 3.1
)
CLIP = 5.0  # DARTS's released code


def discretise(strategy: SupernetStrategy, genotype: Genotype) -> Metrics:
    """Validation accuracies of a supernet, of the child that it becomes, and their difference.

    With the name of the task's objective in place of `accuracy`:

    - `supernet_accuracy` of the mean mixture, `supernet_argmax_accuracy` of every decision's
      likeliest choice, `supernet_sampled_accuracy` of drawn mixtures, where they are drawn;
    - `child_accuracy` of the genotype with inherited weights, `child_running_accuracy` with the
      supernet's running statistics, `child_recalibrated_accuracy` with statistics of its own,
      `child_tuned_accuracy` after one more epoch of training;
    - `gap`, the first of the supernet's less the first of the child's.

    Draws from torch's global generator; the strategy is left as it is.
    """
    supernet, task, objective = strategy.supernet, strategy.task, strategy.task.objective
    batch_size = 8 * strategy.batch_size  # as `Differentiable.validate`: batch norms depend on it

    def measured(forward: Forward) -> float:
        return task.evaluate(forward, strategy.validation, batch_size)[objective]

    def measured_at(mixture: Mixture) -> float:
        with batch_statistics(supernet):
            return measured(lambda x: supernet.network(x, mixture))

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
    order = torch.randperm(len(strategy.train))
    batches = task.batches(strategy.train, strategy.batch_size, order)
    sound = finite(learner.train(batches, learner.first_lr), child)
    child.eval()
    metrics[f"child_tuned_{objective}"] = measured(child) if sound else math.nan
    metrics["gap"] = metrics[f"supernet_{objective}"] - metrics[f"child_{objective}"]
    return metrics


def rehearsals(strategy: SupernetStrategy) -> Iterator[Rehearsal]:
    """What `discretise` will do, at a strategy that has begun: passes of supernet and child."""
    task, images = strategy.task, strategy.train
    child = _child(strategy, strategy.supernet.space.sample())
    learner = task.learner(child, optimizer=TUNING, clip=CLIP)

    def play(step: Step) -> None:
        batches = task.batches(images, strategy.batch_size, torch.randperm(len(images)))
        steps = math.ceil(len(images) / strategy.batch_size)
        learner.train(tracked(batches, steps, step), learner.first_lr)

    def rest() -> None:
        learner.evaluate(strategy.validation, 8 * strategy.batch_size)

    yield Rehearsal(1, play, 5, rest)  # five passes: as likeliest path, and four as a child
    yield Rehearsal(rests=1 + len(_drawn(strategy.supernet)), rest=strategy.validate)


def _drawn(supernet: Supernet) -> list[Mixture]:
    """Mixtures as training draws them, none where they do not differ."""
    with torch.no_grad():
        drawn = [supernet.mixture(sampled=True) for _ in range(SAMPLES)]
    same = all(torch.equal(mixture.weights, drawn[0].weights) for mixture in drawn)
    return [] if same else drawn


def _child(strategy: SupernetStrategy, genotype: Genotype) -> nn.Module:
    """The network of the genotype alone, with the weights that the supernet has for it."""
    supernet, task = strategy.supernet, strategy.task
    child = supernet.space.network(
        genotype, inputs=task.inputs, outputs=task.outputs, layout=strategy.layout
    )
    weights = supernet.network.state_dict()
    child.load_state_dict({name: weights[name] for name in child.state_dict()})
    return child


@torch.no_grad()
def recalibrate(network: nn.Module, split: Split, batch_size: int) -> None:
    """Estimate all running statistics again: the mean over one pass, without augmentation."""
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
