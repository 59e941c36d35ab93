"""A network of the space `morph` as a list of layers and the skip connections between them.

Layers are numbered from 1. Convolutions and pools come first, dense layers last: global average
pooling stands between them, and the classifier after the last layer. Words of a genotype:
`conv3_w2` is a 3x3 convolution with twice the channels of the layout, `pool` halves the map,
`dense_w1` is a dense layer; `skip1-3=add` reads layer 1 and enters layer 3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, get_args

from nasrun.genotype import Genotype

NAME = "morph"
"""Name of the space in its genotypes."""

LayerKind = Literal["conv", "pool", "dense"]
Join = Literal["add", "concat"]
JOINS: tuple[Join, ...] = get_args(Join)

LAYER = re.compile(r"conv(?P<kernel>[1-9]\d?)_w(?P<width>[1-9]\d{0,3})|pool|dense_w([1-9]\d{0,3})")
WORDS = "conv3_w1, pool or dense_w1"
KERNELS = range(1, 100, 2)
"""Kernels that a word can name."""


@dataclass(frozen=True)
class ChainLayer:
    """A layer; `width` is a multiple of the layout's channels, 0 for a pool.

    `kernel` is a convolution's, else 0. Convolutions have stride 1, pools have stride 2.
    """

    kind: LayerKind
    width: int = 0
    kernel: int = 0

    @classmethod
    def read(cls, word: str) -> ChainLayer:
        """Return the layer that a word names; ValueError for other words."""
        found = LAYER.fullmatch(word)
        if found is None or (found["kernel"] and int(found["kernel"]) not in KERNELS):
            raise ValueError(f"{word!r} is not a layer; use words such as {WORDS}")
        if word == "pool":
            return cls("pool")
        if found["kernel"]:
            return cls("conv", int(found["width"]), int(found["kernel"]))
        return cls("dense", int(found[3]))

    def __str__(self) -> str:
        kernel = str(self.kernel) if self.kernel else ""
        return f"{self.kind}{kernel}_w{self.width}" if self.width else self.kind


@dataclass(frozen=True, order=True)
class Skip:
    """A connection from the output of layer `source` to the sum before the ReLU of `target`."""

    source: int
    target: int
    kind: Join


@dataclass(frozen=True)
class Chain:
    """The layers in the order of the data, and the skip connections, sorted.

    ValueError if they make no network.
    """

    layers: tuple[ChainLayer, ...]
    skips: tuple[Skip, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "skips", tuple(sorted(self.skips)))
        kinds = [layer.kind for layer in self.layers]
        if not kinds or kinds[0] != "conv":
            raise ValueError("the first layer is not a convolution; begin with one")
        flat = [kind == "dense" for kind in kinds]
        if flat != sorted(flat):
            raise ValueError(
                f"layer{flat.index(True) + 1} is dense and comes before a convolution or a pool; "
                "put dense layers last"
            )
        for skip in self.skips:
            name = f"skip{skip.source}-{skip.target}"
            if not 1 <= skip.source < skip.target <= len(kinds):
                raise ValueError(
                    f"{name}: use two of the {len(kinds)} layers, the first one before the second"
                )
            if pools := [n for n in (skip.source, skip.target) if kinds[n - 1] == "pool"]:
                raise ValueError(f"{name}: layer{pools[0]} is a pool; connect other layers")
        pairs = [(skip.source, skip.target) for skip in self.skips]
        if twice := [pair for pair in pairs if pairs.count(pair) > 1]:
            raise ValueError(f"skip{twice[0][0]}-{twice[0][1]} is given twice; give one per pair")

    @classmethod
    def of(cls, genotype: Genotype) -> Chain:
        """Return the network that a genotype describes; ValueError if it describes none."""
        layers: dict[int, ChainLayer] = {}
        skips = []
        for name, choice in genotype.items():
            if found := re.fullmatch(r"layer([1-9]\d{0,3})", name):
                try:
                    layers[int(found[1])] = ChainLayer.read(choice)
                except ValueError as error:
                    raise ValueError(f"genotype has {name}={choice}: {error}") from error
            elif found := re.fullmatch(r"skip([1-9]\d{0,3})-([1-9]\d{0,3})", name):
                if choice not in JOINS:
                    raise ValueError(f"genotype has {name}={choice}; use {' or '.join(JOINS)}")
                skips.append(Skip(int(found[1]), int(found[2]), choice))
            else:
                raise ValueError(f"genotype decides {name}, which space={NAME} does not have")
        if missing := sorted(set(range(1, len(layers) + 1)) - set(layers)):
            raise ValueError(f"genotype has no layer{missing[0]}; number the layers from 1")
        if genotype.concat:
            raise ValueError(f"genotype joins {genotype.concat}; leave it out, there are no cells")
        try:
            return cls(tuple(layers[number] for number in sorted(layers)), tuple(skips))
        except ValueError as error:
            raise ValueError(f"genotype: {error}") from error

    def genotype(self) -> Genotype:
        """Return the genotype of this network."""
        layers = {f"layer{number}": str(layer) for number, layer in enumerate(self.layers, 1)}
        skips = {f"skip{skip.source}-{skip.target}": skip.kind for skip in self.skips}
        return Genotype(NAME, layers | skips)

    def layer(self, number: int) -> ChainLayer:
        """Return the layer of a number, counted from 1."""
        return self.layers[number - 1]

    def width(self, number: int) -> int:
        """Return the width of what a layer returns: a pool's is that of the layer before it."""
        while self.layers[number - 1].kind == "pool":
            number -= 1
        return self.layers[number - 1].width

    def pools(self, source: int, target: int) -> int:
        """Return how many pools stand between two layers."""
        return sum(layer.kind == "pool" for layer in self.layers[source : target - 1])

    def entering(self, target: int) -> tuple[Skip, ...]:
        """Return the skip connections that enter a layer, in the order in which they do."""
        return tuple(skip for skip in self.skips if skip.target == target)

    def leaving(self, source: int) -> tuple[Skip, ...]:
        """Return the skip connections that read a layer."""
        return tuple(skip for skip in self.skips if skip.source == source)

    def inserted(self, after: int, layer: ChainLayer) -> Chain:
        """Return the network with one more layer; skip connections stay with their layers."""

        def moved(number: int) -> int:
            return number + (number > after)

        skips = (replace(s, source=moved(s.source), target=moved(s.target)) for s in self.skips)
        return Chain((*self.layers[:after], layer, *self.layers[after:]), tuple(skips))

    def parameters(self, channels: int, inputs: int) -> int:
        """Return the number of parameters of the layers, without the classifier."""
        total, before = 0, inputs
        for number, layer in enumerate(self.layers, 1):
            own = channels * layer.width
            if layer.kind == "conv":
                total += own * before * layer.kernel**2 + 2 * own  # weights, batch norm
            elif layer.kind == "dense":
                total += own * before + own
            for skip in self.entering(number):
                read = channels * self.width(skip.source)
                total += own * (read + (own if skip.kind == "concat" else 0))
            before = own or before
        return total
