"""Small spaces, scores in a given order, and a loop without a folder."""

from typing import ClassVar

import torch

from nasrun.budget import Budget
from nasrun.context import Context
from nasrun.engines.local import Serial
from nasrun.evaluators.base import Evaluator
from nasrun.genotype import NONE, AtMost, Decision
from nasrun.score import Score
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.mobile import MobileSpace
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.spaces.supernet import SupernetSpace
from nasrun.streams import Streams

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""DARTS's operations, in their order."""
DARTS = DartsSpace(
    operations=("none", "skip_connect", "sep_conv_3x3"),
    nodes=2,
    kept_edges=1,
    channels=2,
    layers=3,
)
CELLS = NasBench201(
    operations=("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"),
    channels=4,
    layers=3,
)
MOBILE = MobileSpace(
    kernels=(3, 5),
    expansions=(1, 3),
    widths=(100, 50),
    squeeze=(False,),
    skip=True,
    channels=4,
    layers=3,
)


class Decisions(SupernetSpace):
    """A space that builds no network."""

    search_layout = published_layout = None
    owned: ClassVar = {}

    def network(self, genotype=None, *, inputs, outputs, layout=None):
        raise NotImplementedError

    def render(self, genotype):
        return ",".join(genotype.values())

    def parse(self, text):
        raise NotImplementedError

    def cells(self, genotype):
        return {}


class Toy(Decisions):
    """Three edges, of which a network keeps two."""

    name = "toy"
    decisions = tuple(Decision(f"e{n}", (NONE, "a", "b")) for n in range(3))
    limits = (AtMost(("e0", "e1", "e2"), 2),)
    none_is_a_choice = False


class Scores(Evaluator):
    """Scores in a given order."""

    def __init__(self, scores, warm_up_rounds=0):
        self.scores, self._warm_up_rounds = list(scores), warm_up_rounds
        self.warmed, self.asked = [], []

    @property
    def warm_up_rounds(self):
        return self._warm_up_rounds

    def begin(self, context):
        pass

    def warm_up(self, stage, progress):
        self.warmed.append(progress)
        return {"train_loss": 1.0}

    def __call__(self, genotype):
        self.asked.append(genotype)
        metrics = {"accuracy": self.scores[len(self.asked) - 1], "loss": 2.0}
        return Score.validation(metrics, "accuracy")

    def step_bytes(self):
        return 0

    def report(self):
        return {"note": "in a given order"}

    def state_dict(self):
        return {"asked": len(self.asked)}

    def load_state_dict(self, state):
        self.asked = [None] * state["asked"]


class Task:
    objective = "accuracy"


def context(space=None, task=None, budget=None, **others):
    """Return a context with the parts that a test needs; its streams are those of torch's seed."""
    budget = (
        Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
        if budget is None
        else budget
    )
    parts = {"engine": Serial(), "streams": Streams(torch.initial_seed()), **others}
    return Context(space=space, task=Task() if task is None else task, budget=budget, **parts)


def run(search, rounds=None):
    found = []
    with torch.random.fork_rng():  # later contexts keep the test's seed
        while not search.done and (rounds is None or len(found) < rounds):
            search.streams.at(search.round)  # as `drive` does
            found.append(search.run_round())
            search.round += 1
    return found
