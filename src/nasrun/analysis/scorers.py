"""Scorers give architectures their numbers: evaluators, a finished search's supernet, controls."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from nasrun.budget import Budget
from nasrun.config import (
    Composed,
    build,
    build_all,
    compose,
    depends,
    import_trusted,
    key_of,
    put,
    resolve,
    root_of,
)
from nasrun.config.stages import SCALE, SEARCH
from nasrun.context import AnyContext, Context
from nasrun.costs.cost import count
from nasrun.engines.local import Serial
from nasrun.evaluators.base import Evaluator
from nasrun.evaluators.untrained import Untrained
from nasrun.genotype import NONE, Genotype, fingerprint
from nasrun.pipeline.refusals import refuse_strangers
from nasrun.runs.finding import find_run
from nasrun.runs.finished import load_search
from nasrun.runs.recorded import identity
from nasrun.score import Score
from nasrun.spaces.base import entry_of
from nasrun.spaces.decision import DecisionSpace
from nasrun.spaces.layout import Layout
from nasrun.spaces.supernet import SupernetSpace
from nasrun.stage import Metrics
from nasrun.strategies.base import Strategy, SupernetStrategy
from nasrun.strategies.evaluated import EvaluatedSearch
from nasrun.streams import Streams

READS = ("space", "dataset", "task", "strategy", "budget", "seed", "experiment", *SCALE)
"""Groups and keys of the configuration that scoring reads."""


@dataclass(frozen=True)
class Sample:
    """The space that architectures are drawn from, and the table that may know their accuracy.

    `table` is the space's own, `data` the option of `dataset`; each may be `None`. So may `budget`,
    which limits the scoring: that of a run has limited its search.
    """

    space: DecisionSpace
    seed: int
    table: str | None
    data: str | None
    budget: Budget | None = None

    def draw(self, number: int) -> list[Genotype]:
        """Return the first `number` of one sequence of uniformly drawn architectures."""
        generator = torch.Generator().manual_seed(self.seed)
        return [self.space.sample(generator) for _ in range(number)]

    def truth(self, drawn: Iterable[Genotype], known: Mapping[str, float]) -> dict[str, float]:
        """Return the values that a table gives to drawn architectures, by their own texts."""
        entries = {self.space.render(each): entry_of(self.space, each) for each in drawn}
        return {text: known[entry] for text, entry in entries.items() if entry and entry in known}


class Scorer(ABC):
    """Gives an architecture numbers of which more is better.

    Scorers with the same `identity` give the same numbers. `joined` names the numbers that form one
    score by their ranks among all architectures; it is `None` if each number is a score.
    """

    name: str
    identity: str
    joined: Sequence[str] | None = None

    @abstractmethod
    def numbers(self, place: int, genotype: Genotype) -> Metrics:
        """Return the numbers, by name, of the architecture at a place of the sequence."""


class Evaluated(Scorer):
    """An evaluator on which `begin` was called.

    A number depends only on the architecture and its place, so that scoring can be resumed.
    """

    def __init__(
        self, name: str, evaluator: Evaluator, streams: Streams, made_with: object
    ) -> None:
        self.name, self.evaluator, self.streams = name, evaluator, streams
        self.identity = fingerprint([name, made_with])
        if isinstance(evaluator, Untrained) and evaluator.reference is not None:
            self.joined = [each for formula in evaluator.formulas for each in formula.names]

    def numbers(self, place: int, genotype: Genotype) -> Metrics:
        if isinstance(self.evaluator, Untrained):
            found = self.evaluator.numbers(genotype)
            return found if self.joined else dict(zip([self.name], found.values(), strict=True))
        with self.streams.aside(self.name, place):
            score = self.evaluator(genotype)
        return {self.name: score.merit}


class Counted(Scorer):
    """The controls: parameters and multiply-adds of the network that the search uses."""

    name = "controls"

    def __init__(self, space: SupernetSpace, inputs: int, outputs: int, size: int) -> None:
        own = space.search_layout
        self.layout = Layout(channels=own.channels, layers=own.layers, stem=own.stem)
        self.space, self.inputs, self.outputs, self.size = space, inputs, outputs, size
        made_with = [space.name, str(self.layout), inputs, outputs, size]
        self.identity = fingerprint([self.name, *made_with])

    def numbers(self, place: int, genotype: Genotype) -> Metrics:
        with torch.device("meta"):
            network = self.space.network(
                genotype, inputs=self.inputs, outputs=self.outputs, layout=self.layout
            )
        cost = count(network, self.inputs, self.size)
        return {"params": float(cost.params), "macs": float(cost.macs)}


class Asked(Scorer):
    """A finished search: its supernet's validation accuracy with one architecture alone.

    `alphas` is the logarithm of the probability that the search gives the architecture, by which
    selectors like `argmax` choose. Batch norms use the batch, as in the search.
    """

    name = "supernet"

    def __init__(self, strategy: SupernetStrategy, images: int | None, made_with: object) -> None:
        self.strategy = strategy
        self.split = strategy.validation
        if images is not None:
            self.split = strategy.task.subset(strategy.validation, images)
        self.rows = strategy.supernet.probabilities()
        self.identity = fingerprint([self.name, images, made_with])

    def numbers(self, place: int, genotype: Genotype) -> Metrics:
        mixture = self.strategy.supernet.at(genotype)
        metrics = self.strategy.metrics_at(mixture, self.split)
        score = Score.validation(metrics, self.strategy.task.objective)
        return {"supernet": score.merit, "alphas": self.log_probability(genotype)}

    def log_probability(self, genotype: Genotype) -> float:
        """Return the sum of ln p over the choices that are kept."""
        free = self.strategy.supernet.space.none_is_a_choice
        kept = [
            self.rows[name][choice] for name, choice in genotype.items() if free or choice != NONE
        ]
        return sum(math.log(p) for p in kept) if all(p > 0 for p in kept) else -math.inf


@dataclass(frozen=True)
class Referee:
    """The evaluator whose scores are the truth, and the overrides of its settings."""

    name: str
    overrides: Sequence[str]

    def settings(self, words: Sequence[str]) -> Composed:
        """Return its configuration, with the words of the whole command."""
        shared = [word for word in words if not key_of(word).startswith("strategy.")]
        return _composed(self.name, [*shared, *self.overrides])


def of_words(
    names: Sequence[str], overrides: Sequence[str], judge: Referee | None, trusted: Sequence[str]
) -> tuple[Sample, list[Scorer], Scorer | None]:
    """Begin the named evaluators; return the sample, these and the controls, and the judge.

    Raises ValueError for words without effect.
    """
    for override in overrides:
        key = key_of(override)
        if root_of(key) not in (*READS, "hydra"):
            raise ValueError(f"{override}: has no effect on `nasrun analyze ranks`, leave it out")
        if root_of(key) == "strategy" and not key.startswith("strategy.evaluator."):
            raise ValueError(f"{override}: has no effect, architectures are drawn; leave it out")
    import_trusted(trusted)
    composed = {f"evaluator={name}": _composed(name, overrides) for name in names}
    first = next(iter(composed.values()))
    config, choices = first.config, first.choices
    if judge is not None:
        composed[f"against={judge.name}"] = judge.settings(overrides)
    _refuse_idle(overrides, composed.values())
    nodes = {key: resolve(config[key]) for key in ("budget", "space", "dataset", "task")}
    budget, space, dataset, task = build_all(nodes, trusted).values()
    strategies = {}
    for word, each in composed.items():
        strategy = build(resolve(each.config["strategy"]), "strategy", trusted)
        refuse_strangers(each.choices, strategy, task, space, dataset)
        refuse_trained_first(word, strategy.evaluator)
        strategies[word] = strategy
    dataset.check()
    budget.apply()
    seed = int(config["seed"])
    streams = Streams(seed)
    streams.enter(SEARCH.name)
    task.begin(dataset, budget)
    contents = dataset.contents()
    shared = [{k: v for k, v in nodes["space"].items() if k != "table"}, nodes["task"], seed]
    shared += [identity({"dataset": nodes["dataset"]}), contents and contents.digest]
    shared.append(budget.arithmetic)
    context = Context(space=space, task=task, budget=budget, streams=streams, engine=Serial())
    scorers: list[Scorer] = []
    for word, strategy in strategies.items():
        name = word.removeprefix("evaluator=")
        own = resolve(composed[word].config["strategy"])["evaluator"]
        scorers.append(_begun(name, strategy.evaluator, context, [*shared, own]))
    last = None if judge is None else scorers.pop()
    if isinstance(space, SupernetSpace):
        scorers.append(Counted(space, task.inputs, task.outputs, task.size))
    return Sample(space, seed, space.table, choices["dataset"], budget), scorers, last


def _refuse_idle(overrides: Sequence[str], composed: Collection[Composed]) -> None:
    """Refuse a typed key of the frame that no score, no space and no data depend on."""
    read = ("space", "dataset", "task", "strategy.evaluator")
    for override in overrides:
        key = key_of(override)
        if key in SCALE and not any(depends(each.config, read, key) for each in composed):
            raise ValueError(f"{override}: has no effect, no score reads {key}; leave it out")


def _composed(name: str, overrides: Sequence[str]) -> Composed:
    return compose([*overrides, "strategy=random", f"evaluator@strategy={name}"])


def _begun(name: str, evaluator: Evaluator, context: AnyContext, made_with: object) -> Evaluated:
    context.streams.enter(SEARCH.name)  # the same images for all, those of a search
    evaluator.check(context.task)
    evaluator.begin(context)
    return Evaluated(name, evaluator, context.streams, made_with)


def refuse_trained_first(word: str, evaluator: Evaluator) -> None:
    """Refuse an evaluator that trains before its first score; its finished search can be asked.

    The warm-up of untrained scores trains nothing: it draws the architectures that joined ranks are
    among, which here are those of the sample.
    """
    if evaluator.warm_up_rounds and not isinstance(evaluator, Untrained):
        name = word.partition("=")[2]
        raise ValueError(
            f"{word}: trains a supernet first; type `nasrun search strategy=random "
            f"evaluator={name}`, then give its run as run=RUN"
        )


def of_run(
    path: str,
    images: int | None,
    seed: int,
    judge: Referee | None,
    trusted: Sequence[str],
    root: str | None = None,
) -> tuple[Sample, list[Scorer], Scorer | None]:
    """Return the sample, the scorers of a finished search with the controls, and the judge.

    `root` is the place of data that were moved.
    """
    strategy = load_search(path, trusted, root)
    run = find_run(str(Path(path).expanduser()))
    record = run.record
    asked = _asked(path, strategy, images, record["fingerprint"])
    assert isinstance(strategy, SupernetStrategy | EvaluatedSearch)
    space = strategy.supernet.space if isinstance(strategy, SupernetStrategy) else strategy.space
    assert isinstance(space, SupernetSpace)
    task = strategy.task
    last = None
    if judge is not None:
        words = [f"{key}={value}" for key, value in record["scale"].items() if value is not None]
        config = judge.settings(words).config
        put(config, {"space": {**run.config["space"], "table": record.get("table")}})
        node = resolve(config["strategy"])
        evaluator = build(node, "strategy", trusted).evaluator
        refuse_trained_first(f"against={judge.name}", evaluator)
        budget, streams = task.budget, Streams(seed)
        context = Context(space=space, task=task, budget=budget, streams=streams, engine=Serial())
        settings = [record["fingerprint"], budget.arithmetic, node["evaluator"], seed]
        last = _begun(f"against={judge.name}", evaluator, context, settings)
    sample = Sample(space, seed, record.get("table"), record["choices"].get("dataset"))
    return sample, [asked, Counted(space, task.inputs, task.outputs, task.size)], last


def _asked(path: str, strategy: Strategy, images: int | None, fingerprint: str) -> Scorer:
    """Return the scorer of a finished search: its supernet."""
    if isinstance(strategy, SupernetStrategy):
        return Asked(strategy, images, [fingerprint, strategy.task.budget.arithmetic])
    if isinstance(strategy, EvaluatedSearch) and strategy.shared_score is not None:
        if images is not None:
            raise ValueError(f"images={images}: has no effect on scores of a search; leave it out")
        made_with = [fingerprint, strategy.task.budget.arithmetic]
        return Evaluated("inherited", strategy.evaluator, strategy.streams, made_with)
    raise ValueError(
        f"run={path}: its strategy leaves {strategy.leaves}, not a supernet; give evaluator=NAME "
        "instead"
    )
