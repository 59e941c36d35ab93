"""Networks that grow: chains of layers with skip connections, of free depth (1806.10282).

A search by Auto-Keras begins with a small network and changes it by morphs, which keep its
function: a new layer, a wider layer, a new skip connection. A genotype lists the layers and skip
connections that there are (`nasrun.spaces.morph_layers`), so its depth is its own.

Where we differ from the released code: a block is convolution, batch norm, ReLU, so that a new
layer keeps the function exactly, and there is no dropout. Pools stay where the start has them, as
they do there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from nasrun.genotype import Genotype, Misfit
from nasrun.spaces.base import ClassifierSpace, DrawnSpace
from nasrun.spaces.layout import MOST_LAYERS, Layout, Stem
from nasrun.spaces.morph_layers import JOINS, KERNELS, NAME, Chain, ChainLayer, Join
from nasrun.spaces.morph_network import MorphNetwork
from nasrun.spaces.morphs import Connect, Deep, Morph, Wide

RGB = 3
"""Channels of the images for which `largest` is counted."""


@dataclass(frozen=True, kw_only=True)
class MorphSpace(DrawnSpace, ClassifierSpace):
    """Networks that grow out of the layers in `start` by morphs.

    A layer is at most `widest` times `channels` wide, with one of the `kernels`. There are at most
    `deepest` layers, with at most `largest` parameters in all, counted for RGB images and without
    the classifier. `skips` lists the kinds of skip connections that morphs add. `channels` and
    `stem` are those of the networks in a search.
    """

    channels: int
    start: tuple[str, ...]
    kernels: tuple[int, ...]
    skips: tuple[Join, ...]
    deepest: int
    widest: int
    largest: int
    stem: Stem = "cifar"

    name = NAME
    words = "networks that grow"
    options = f"space={NAME}"
    self_sized = True
    bounded_by = ("channels",)

    def __post_init__(self) -> None:
        for key in ("start", "kernels", "skips"):
            object.__setattr__(self, key, tuple(getattr(self, key)))
        if not self.kernels or not _distinct(self.kernels, KERNELS):
            raise ValueError(
                f"kernels={list(self.kernels)}: use one or more different odd numbers of 1 to "
                f"{KERNELS[-1]}"
            )
        if not _distinct(self.skips, JOINS):
            raise ValueError(
                f"skips={list(self.skips)}: use some of {', '.join(JOINS)}, each once, or []"
            )
        for key, most in (("deepest", MOST_LAYERS), ("widest", 9999), ("largest", 2**40)):
            if not 1 <= getattr(self, key) <= most:
                raise ValueError(f"{key}={getattr(self, key)}: use 1 to {most}")
        self.layout  # noqa: B018  a Layout checks the channels
        try:
            self._check(Chain(tuple(map(ChainLayer.read, self.start))))
        except ValueError as error:
            raise ValueError(f"start: {error}") from error

    @property
    def layout(self) -> Layout:
        """The layout of the networks in a search."""
        return Layout(channels=self.channels, layers=None, stem=self.stem)

    def starts(self) -> list[Genotype]:
        """Return the genotypes from which a search begins."""
        return [Chain(tuple(map(ChainLayer.read, self.start))).genotype()]

    def network(
        self, genotype: Genotype, *, inputs: int, outputs: int, layout: Layout | None = None
    ) -> MorphNetwork:
        layout = layout or self.layout
        if layout.layers is not None:
            raise ValueError(
                f"layers={layout.layers}: a genotype of this space has its own depth; "
                f"use layers=null, or the recipe {self.name}"
            )
        if layout.auxiliary:
            raise ValueError(
                "auxiliary=true: this space has no auxiliary head; use auxiliary=false"
            )
        if layout.partial != 1:
            raise ValueError(f"partial={layout.partial}: this space has no edges; use partial=1")
        chain = Chain.of(self.check(genotype))
        return MorphNetwork(chain, inputs=inputs, outputs=outputs, layout=layout)

    def size(self, genotype: Genotype) -> int:
        """Return the number of parameters that `largest` limits."""
        return Chain.of(genotype).parameters(self.channels, RGB)

    def check(self, genotype: Genotype) -> Genotype:
        self._check(Chain.of(genotype))
        return genotype

    def _check(self, chain: Chain) -> None:
        if (depth := len(chain.layers)) > self.deepest:
            self._refuse("deepest", depth, f"{depth} layers")
        kernels = {layer.kernel for layer in chain.layers if layer.kind == "conv"}
        if more := sorted(kernels - set(self.kernels)):
            self._refuse("kernels", sorted({*self.kernels, *more}), f"a kernel of {more[0]}")
        if (width := max(layer.width for layer in chain.layers)) > self.widest:
            self._refuse("widest", width, f"a layer {width} times `channels` wide")
        if (count := chain.parameters(self.channels, RGB)) > self.largest:
            self._refuse("largest", count, f"{count} parameters")

    def _refuse(self, key: str, needed: int | list[int], found: str) -> None:
        allowed = getattr(self, key)
        allowed = list(allowed) if isinstance(allowed, tuple) else allowed
        raise Misfit(f"genotype has {found}; this space allows {key}={allowed}", {key: needed})

    def morphs(self, genotype: Genotype) -> Iterator[Morph]:
        """Yield every morph of a network after which it is still in the space; `Wide` doubles."""
        chain = Chain.of(genotype)
        for kind in self._morphs(chain):
            for morph in kind:
                if self._holds(morph.on(chain)):
                    yield morph

    def shuffled(
        self, genotype: Genotype, generator: torch.Generator | None = None
    ) -> Iterator[Morph]:
        """Yield the `morphs` in random order.

        Each of the three kinds is drawn equally often, as long as there are any of it.
        """

        def drawn(count: int) -> int:
            return int(torch.randint(count, (), generator=generator))

        kinds: dict[type[Morph], list[Morph]] = {}
        for morph in self.morphs(genotype):
            kinds.setdefault(type(morph), []).append(morph)
        while left := [kind for kind in kinds.values() if kind]:
            kind = left[drawn(len(left))]
            yield kind.pop(drawn(len(kind)))

    def sample(self, generator: torch.Generator | None = None) -> Genotype:
        """Return the start after 0 to `deepest` random morphs."""
        genotype = self.starts()[0]
        for _ in range(int(torch.randint(self.deepest + 1, (), generator=generator))):
            morph = next(self.shuffled(genotype, generator), None)
            if morph is None:
                break
            genotype = morph.grown(genotype)
        return genotype

    def _morphs(self, chain: Chain) -> tuple[list[Morph], list[Morph], list[Morph]]:
        """Return the morphs that make a network deeper, wider, or connect two of its layers."""
        numbers = range(1, len(chain.layers) + 1)
        with_units = [number for number in numbers if chain.layer(number).kind != "pool"]
        maps = [number for number in numbers if chain.layer(number).kind != "dense"]
        deep: list[Morph] = [Deep(n, f"conv{kernel}") for n in maps for kernel in self.kernels]
        deep += [Deep(number, "dense") for number in numbers[maps[-1] - 1 :]]
        wide: list[Morph] = [Wide(n, 2 * chain.layer(n).width) for n in with_units]
        joined = {(skip.source, skip.target) for skip in chain.skips}
        skips: list[Morph] = [
            Connect(*pair, kind)
            for pair in combinations(with_units, 2)
            if pair not in joined
            for kind in self.skips
        ]
        return deep, wide, skips

    def _holds(self, chain: Chain) -> bool:
        """Return whether a network is within the limits of the space."""
        return (
            len(chain.layers) <= self.deepest
            and max(layer.width for layer in chain.layers) <= self.widest
            and chain.parameters(self.channels, RGB) <= self.largest
        )

    def render(self, genotype: Genotype) -> str:
        chain = Chain.of(genotype)
        skips = [f"{skip.source}-{skip.target}={skip.kind}" for skip in chain.skips]
        layers = " ".join(map(str, chain.layers))
        return f"layers {layers}; skips {' '.join(skips) or 'none'}"

    def parse(self, text: str) -> Genotype:
        layers, _, skips = text.strip().partition(";")
        words, skipped = layers.split(), skips.split()
        if words[:1] != ["layers"] or skipped[:1] not in ([], ["skips"]):
            raise ValueError(
                f"genotype {text[:40]!r}: expected layers conv3_w1 pool ...; skips 1-3=add ..."
            )
        choices = {f"layer{number}": each for number, each in enumerate(words[1:], 1)}
        for each in skipped[1:] if skipped[1:] != ["none"] else []:
            pair, _, kind = each.partition("=")
            if f"skip{pair}" in choices:
                raise ValueError(f"genotype has skip{pair} twice; give it once")
            choices[f"skip{pair}"] = kind
        return self.check(Chain.of(Genotype(self.name, choices)).genotype())

    def cells(self, genotype: Genotype) -> dict[str, list[tuple[str, str, str]]]:
        chain = Chain.of(genotype)
        names = ["images", *(f"layer{number}" for number in range(1, len(chain.layers) + 1))]
        edges = [
            (names[number - 1], names[number], str(layer))
            for number, layer in enumerate(chain.layers, 1)
        ]
        skips = [(names[skip.source], names[skip.target], skip.kind) for skip in chain.skips]
        return {"network": edges + skips}


def _distinct(values: Sequence[object], among: Sequence[object]) -> bool:
    """Return whether the values are some of these, each once."""
    return len(set(values)) == len(values) and set(values) <= set(among)
