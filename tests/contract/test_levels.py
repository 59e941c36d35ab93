"""Rules for a step of every level and relaxation that a strategy names."""

import math

import torch
from toys import context

from nasrun import config as configuration
from nasrun.budget import Budget
from nasrun.ops import operation
from nasrun.streams import Streams

SMALLER = ["depth=3", "width=2", "space.nodes=2"]
SMALLER += ["space.operations=[none,max_pool_3x3,skip_connect,sep_conv_3x3,dil_conv_3x3]"]
"""A supernet with an operation of each kind, and cells that cost a fifth."""
MANY, FEW = 32, 3
"""Images of a batch whose maps fold, and of a short last one whose maps do not."""
THRESHOLD = 2**12
"""Number of elements above which maps fold: also maps of one path."""


def begun(strategy, settings):
    """The differentiable search of a strategy on the embedded digits, in double precision."""
    config = configuration.compose([f"strategy={strategy}", *SMALLER]).config
    space, dataset, task = (
        configuration.build(configuration.resolve(config[key]), key)
        for key in ("space", "dataset", "task")
    )
    budget = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
    streams = Streams(0)
    streams.enter("levels")
    task.begin(dataset, budget)
    search = configuration.build(dict(settings), "strategy")
    search.begin(context(space, task, budget, streams=streams))
    search.supernet.double().train()
    return search


def stepped(strategy, settings):
    """Return the losses of steps with both batch sizes on both sides, and the state after them."""
    search = begun(strategy, settings)
    images, labels, _ = next(search.task.batches(search.train, 2 * MANY, torch.arange(2 * MANY)))
    few, many = ((images[:n].double(), labels[:n]) for n in (FEW, MANY))
    losses = []
    for begins, share in search.level.phases:
        search.supernet.progress = begins + share
        for train, val in ((few, many), (many, few)):
            losses.append(search.level.step(search.search, train, val))
    return losses, search.supernet.state_dict()


def test_a_step_is_the_same_whichever_of_its_batches_fold(level, monkeypatch):
    folded, normalised = set(), operation.normalised

    def noted(terms, *arguments, **settings):
        folded.add(len(terms[0].state.map))
        return normalised(terms, *arguments, **settings)

    monkeypatch.setattr(operation, "normalised", noted)
    monkeypatch.setattr(operation, "MANY", THRESHOLD)
    found = stepped(*level)
    assert folded == {MANY}
    monkeypatch.setattr(operation, "MANY", math.inf)
    folded.clear()
    expected = stepped(*level)
    assert not folded
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
