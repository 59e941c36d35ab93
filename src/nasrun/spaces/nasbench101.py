"""The NAS-Bench-101 space (1902.09635): modules of at most seven vertices and nine edges.

A module is a graph from its input to its output; each vertex between them has an operation, and the
output joins the vertices that enter it. The network is three stacks of modules, with a pool that
halves the map and doubles the channels between them. Several genotypes are the same network: what
is on no path from input to output is left out, and the order of vertices does not matter
(`nasrun.spaces.module_graph`).

A genotype decides on each of the 21 possible edges and on the five operations. One without a path
is in the space, not in the benchmark: its modules return zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nasrun.genotype import NONE, AtMost, Decision, Genotype
from nasrun.spaces.base import ClassifierSpace, FoldedSpace
from nasrun.spaces.decision import DecisionSpace
from nasrun.spaces.layout import Layout, Stem
from nasrun.spaces.module_graph import OPERATIONS, ModuleGraph
from nasrun.spaces.nasbench101_network import ModuleNetwork
from nasrun.spaces.notation import modules
from nasrun.spaces.notation.modules import VERTICES

LAST = VERTICES - 1
EDGE = "edge"
"""The choice of an edge that is there."""
MOST_EDGES = 9
EDGES = {
    f"edges-{source}to{target}": (source, target)
    for target in range(1, VERTICES)
    for source in range(target)
}
"""The possible edges by their decisions; in one limit, so of one depth (`Decision.node`)."""
INNER = {f"vertex{number}": number for number in range(1, LAST)}


@dataclass(frozen=True, kw_only=True)
class NasBench101(DecisionSpace, ClassifierSpace, FoldedSpace):
    """Modules with at most nine edges, whose inner vertices choose among `operations`.

    `channels`, `layers` (the modules of all stacks) and `stem` are those of networks without a
    recipe; `choices` narrows single decisions. `table` is a file with true accuracies.
    """

    operations: tuple[str, ...]
    channels: int
    layers: int
    stem: Stem = "cifar"
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    table: str | None = field(default=None, compare=False)

    name = "nasbench101"
    limits = (AtMost(tuple(EDGES), MOST_EDGES),)
    none_is_a_choice = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", tuple(self.operations))
        if unknown := [name for name in self.operations if name not in OPERATIONS]:
            raise ValueError(f"operations: {unknown[0]} is unknown; use {', '.join(OPERATIONS)}")
        if len(set(self.operations)) < len(self.operations) or not self.operations:
            raise ValueError(f"operations={list(self.operations)}: give one or more, each once")
        whole = {**dict.fromkeys(EDGES, (NONE, EDGE)), **dict.fromkeys(INNER, self.operations)}
        for name, left in self.choices.items():
            if name not in whole:
                raise ValueError(
                    f"choices: {name} is not a decision; use names such as {next(iter(whole))}"
                )
            if not left or set(left) - set(whole[name]):
                known = ", ".join(whole[name])
                raise ValueError(f"choices.{name}={list(left)}: use some of {known}")
        forced = [name for name in EDGES if NONE not in self.choices.get(name, whole[name])]
        if len(forced) > MOST_EDGES:
            raise ValueError(
                f"choices: {len(forced)} edges are always there, more than a module has; let all "
                f"but {MOST_EDGES} of them choose none, too"
            )
        decisions = (Decision(n, tuple(self.choices.get(n, every))) for n, every in whole.items())
        object.__setattr__(self, "decisions", tuple(decisions))
        self.layout  # noqa: B018  a Layout checks the settings

    @property
    def layout(self) -> Layout:
        """The layout of networks without a recipe."""
        return Layout(channels=self.channels, layers=self.layers, stem=self.stem)

    def network(
        self, genotype: Genotype, *, inputs: int, outputs: int, layout: Layout | None = None
    ) -> ModuleNetwork:
        layout = layout or self.layout
        if layout.partial != 1:
            raise ValueError(f"partial={layout.partial}: this space has no mixed edges; use 1")
        graph = self.graph(self.check(genotype)).pruned()
        joined = 0 if graph is None else sum(1 for s in graph.sources(graph.last) if s)
        if layout.channels < joined:
            raise ValueError(
                f"channels={layout.channels}: this module divides them among {joined} vertices; "
                f"use at least {joined}"
            )
        return ModuleNetwork(graph, inputs=inputs, outputs=outputs, layout=layout)

    def graph(self, genotype: Genotype) -> ModuleGraph:
        """Return the whole graph of a genotype, with what is on no path."""
        kept = frozenset(edge for name, edge in EDGES.items() if genotype[name] == EDGE)
        return ModuleGraph(tuple(genotype[name] for name in INNER), kept)

    def entry(self, genotype: Genotype) -> str | None:
        graph = self.graph(genotype).pruned()
        return None if graph is None else graph.digest()

    def render(self, genotype: Genotype) -> str:
        return modules.write(self.graph(genotype))

    def parse(self, text: str) -> Genotype:
        graph = modules.read(text)
        idle = [self.decisions[self.rows[name]].choices[0] for name in INNER]
        chosen = dict(zip(INNER, [*graph.operations, *idle[len(graph.operations) :]], strict=True))
        place = {graph.last: LAST}  # a smaller module leaves the vertices before the output idle
        kept = {(s, place.get(t, t)) for s, t in graph.edges}
        edges = {name: EDGE if edge in kept else NONE for name, edge in EDGES.items()}
        return self.check(Genotype(self.name, {**edges, **chosen}))

    def check(self, genotype: Genotype) -> Genotype:
        super().check(genotype)
        live = self.graph(genotype).pruned()
        if live is not None and len(live.edges) > MOST_EDGES:
            raise ValueError(
                f"genotype has {len(live.edges)} edges from input to output; this space has at "
                f"most {MOST_EDGES}"
            )
        return genotype

    def cells(self, genotype: Genotype) -> dict[str, list[tuple[str, str, str]]]:
        names = {0: "in", LAST: "out"} | {v: f"{v}: {genotype[name]}" for name, v in INNER.items()}
        kept = sorted(self.graph(genotype).edges)
        return {"module": [(names[source], names[target], "") for source, target in kept]}
