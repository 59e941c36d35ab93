"""A layer-wise space of inverted residual blocks, like FBNet's and ProxylessNAS's (1812.03443,
1812.00332): every layer chooses its kernel, expansion, width and squeeze, or is skipped.

Examples of choices: `k3e6` has kernel 3 and expansion 6; `k3e6w50` computes only half of the output
channels, the others are zero; `k3e6w50se` also has squeeze and excitation; `skip_connect` is the
identity, or a linear 1x1 convolution where the shape changes. A network always has one layer per
decision; the stem determines which layers change the shape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

from torch import Tensor, nn

from nasrun.genotype import SKIP, Decision, Genotype
from nasrun.ops.mbconv import MBConv, ProjectionShortcut
from nasrun.ops.shared import OfImages
from nasrun.ops.state import State
from nasrun.spaces.layout import Layout, Stem
from nasrun.spaces.supernet import SupernetSpace
from nasrun.supernet.mixture import Mixture
from nasrun.supernet.region import Maps, Probability, Region, dropped, drops
from nasrun.supernet.stacked import StackedNetwork, States

Stages = tuple[tuple[float, int, int], ...]
CIFAR: Stages = ((1, 1, 1), (2, 2, 1), (4, 2, 1))
IMAGENET: Stages = ((1, 1, 1), (1.5, 2, 2), (2, 2, 3), (4, 2, 4), (6, 1, 3), (10, 2, 3), (20, 1, 1))
"""Stages: width as a multiple of the first stage's, stride of the first layer, share of the layers.

ImageNet's are MobileNetV2's (1801.04381 table 2): 16 channels and 17 layers give its network.
"""
HEAD = 4
"""Width of the last 1x1 convolution over that of the last layer (1801.04381: 1280 / 320)."""


@dataclass(frozen=True, kw_only=True)
class MobileSpace(SupernetSpace):
    """`layers` layers, each with all combinations of the listed properties, and `skip_connect`.

    `widths` are percentages of a layer's channels; `squeeze` lists true, false or both, for blocks
    with and without squeeze and excitation. `channels` and `stem` are the search network's;
    `choices` narrows single layers.
    """

    kernels: tuple[int, ...]
    expansions: tuple[int, ...]
    widths: tuple[int, ...]
    squeeze: tuple[bool, ...]
    skip: bool
    channels: int
    layers: int
    stem: Stem = "cifar"
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    name = "mobile"
    limits = ()
    layer_wise = True
    bounded_by = ("layers",)
    sized_by = "layers"

    def __post_init__(self) -> None:
        for key in ("kernels", "expansions", "widths", "squeeze"):
            object.__setattr__(self, key, tuple(getattr(self, key)))
        for key in ("kernels", "expansions", "widths"):
            values = getattr(self, key)
            if not values or len(set(values)) != len(values) or min(values) < 1:
                raise ValueError(
                    f"{key}={list(values)}: use one or more different numbers of at least 1"
                )
        if sorted(self.squeeze) not in ([False], [True], [False, True]):
            listed = str(list(self.squeeze)).lower()
            raise ValueError(f"squeeze={listed}: use false, true or both")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"kernels={list(self.kernels)}: use odd numbers")
        if max(self.widths) > 100:
            raise ValueError(f"widths={list(self.widths)}: use percentages, at most 100")
        stages(self.search_layout)
        names = [_layer_name(index) for index in range(self.layers)]
        unknown = sorted(set(self.choices) - set(names))
        if unknown:
            raise ValueError(f"choices: {unknown[0]} is not a layer; use {names[0]} to {names[-1]}")
        for named in self.choices.values():
            for choice in named:
                block(choice)
        decisions = (Decision(name, tuple(self.choices.get(name, self.blocks))) for name in names)
        object.__setattr__(self, "decisions", tuple(decisions))

    @property
    def blocks(self) -> tuple[str, ...]:
        """Choices of every layer that `choices` does not narrow."""
        found = [
            f"k{kernel}e{expansion}" + ("" if width == 100 else f"w{width}") + "se" * squeezed
            for squeezed, width, expansion, kernel in product(
                self.squeeze, self.widths, self.expansions, self.kernels
            )
        ]
        return (*found, *([SKIP] if self.skip else []))

    @property
    def search_layout(self) -> Layout:
        return Layout(channels=self.channels, layers=self.layers, stem=self.stem)

    @property
    def published_layout(self) -> Layout:
        return Layout(channels=16, layers=self.layers, stem=self.stem)  # 1801.04381 table 2

    def network(
        self,
        genotype: Genotype | None = None,
        *,
        inputs: int,
        outputs: int,
        layout: Layout | None = None,
    ) -> MobileNetwork:
        layout = layout or self.search_layout
        if layout.depth != self.layers:
            raise ValueError(
                f"layers={layout.depth}: this space has one decision per layer; "
                f"use layers={self.layers}"
            )
        if layout.partial != 1:
            raise ValueError(f"partial={layout.partial}: this space has no edges; use partial=1")
        found = self.open_choices(genotype)
        candidates = [found[name] for name in self.rows]
        return MobileNetwork(candidates, inputs=inputs, outputs=outputs, layout=layout)

    @property
    def owned(self) -> Mapping[str, tuple[str, ...]]:
        """Maps each decision to the candidates of its layer."""
        return {name: (f"layers.{row}.candidates",) for name, row in self.rows.items()}

    def render(self, genotype: Genotype) -> str:
        return " ".join(genotype[name] for name in self.rows)

    def parse(self, text: str) -> Genotype:
        chosen = {_layer_name(index): choice for index, choice in enumerate(text.split())}
        return self.check(Genotype(self.name, chosen))

    def cells(self, genotype: Genotype) -> dict[str, list[tuple[str, str, str]]]:
        names = ("stem", *self.rows)
        pairs = zip(names, self.rows, strict=False)
        return {"layers": [(before, name, genotype[name]) for before, name in pairs]}


def _layer_name(index: int) -> str:
    return f"layer{index:02d}"


class Block(NamedTuple):
    """The properties of an inverted residual block; `width` is a share of the channels."""

    kernel: int
    expansion: int
    width: float
    squeeze: bool


def block(choice: str) -> Block | None:
    """Return the block that a choice names, `None` for a skip; ValueError for other names."""
    if choice == SKIP:
        return None
    found = re.fullmatch(r"k(\d+)e(\d+)(?:w(\d+))?(se)?", choice)
    if found is None:
        raise ValueError(
            f"choices: {choice} is not a block; use a name such as k3e6, k5e3w50se or skip_connect"
        )
    kernel, expansion, width, squeezed = found.groups()
    if int(kernel) % 2 == 0 or int(expansion) < 1 or not 1 <= int(width or 100) <= 100:
        raise ValueError(
            f"choices: {choice} is not a block; use an odd kernel, an expansion of at least 1, and "
            "a width of 1 to 100"
        )
    return Block(int(kernel), int(expansion), int(width or 100) / 100, bool(squeezed))


def stages(layout: Layout) -> list[tuple[int, int]]:
    """Return (width, stride) of every layer of a network."""
    if layout.auxiliary:
        raise ValueError("auxiliary=true: this space has no auxiliary head; use auxiliary=false")
    plan = IMAGENET if layout.stem == "imagenet" else CIFAR
    if layout.depth < len(plan):
        raise ValueError(
            f"layers={layout.depth}: stem={layout.stem} has {len(plan)} stages; "
            f"use at least {len(plan)}"
        )
    total = sum(share for _, _, share in plan)
    counts = [1] * len(plan)
    for _ in range(layout.depth - len(plan)):  # the next layer goes to the stage that lacks most
        owed = [layout.depth * plan[i][2] / total - counts[i] for i in range(len(plan))]
        counts[owed.index(max(owed))] += 1
    found = []
    for (multiple, stride, _), count in zip(plan, counts, strict=True):
        width = round(layout.channels * multiple)
        found += [(width, stride), *[(width, 1)] * (count - 1)]
    return found


class MobileNetwork(StackedNetwork):
    """One layer per decision, then a wide 1x1 convolution; `candidates` lists each layer's choices.

    Drop path applies only to layers with a shortcut.
    """

    def __init__(
        self,
        candidates: Sequence[Sequence[str]],
        *,
        inputs: int,
        outputs: int,
        layout: Layout,
    ) -> None:
        super().__init__()
        imagenet = layout.stem == "imagenet"
        width = 2 * layout.channels if imagenet else layout.channels  # 1801.04381: 32 before 16
        stride = 1 if layout.stem == "cifar" else 2
        self.stem = _conv_bn_relu(inputs, width, 3, stride)
        self.layers = nn.ModuleList()
        for row, (choices, (channels, stride)) in enumerate(
            zip(candidates, stages(layout), strict=True)
        ):
            self.layers.append(Layer(choices, row, width, channels, stride, layout.affine))
            width = channels
        self.last = _conv_bn_relu(width, HEAD * width, 1, 1)
        self.classifier = nn.Linear(HEAD * width, outputs)

    @property
    def blocks(self) -> Sequence[Layer]:
        return self.layers  # type: ignore[return-value]

    def enter(self, x: Tensor) -> States:
        return (State(self.stem(x)),)

    def read(self, number: int, states: States) -> Maps:
        return (states[-1].map,)


class Layer(Region, OfImages):
    """The candidates of one decision: y = sum w_o (x + f_o(x)), without x where the shape changes.

    The x of all candidates are added as one, so that drop path keeps the shortcut.
    """

    def __init__(
        self, choices: Sequence[str], row: int, inputs: int, outputs: int, stride: int, affine: bool
    ) -> None:
        super().__init__()
        self.row, self.columns = row, {row: tuple(range(len(choices)))}
        self.choices = tuple(choices)
        self.outputs, self.stride = outputs, stride
        self.shortcut = stride == 1 and inputs == outputs
        self.candidates = nn.ModuleDict()
        for choice in choices:
            named = block(choice)
            if named is not None:
                self.candidates[choice] = MBConv(inputs, outputs, stride, affine, **named._asdict())
            elif not self.shortcut:
                self.candidates[choice] = ProjectionShortcut(inputs, outputs, stride, affine)

    def output(self, maps: Maps, mixture: Mixture | None, drop_path: Probability) -> Tensor:
        (x,) = maps
        total: Tensor | None = None
        share: Tensor | float = 1.0
        if mixture is None:
            assert len(self.choices) == 1, "a layer with several candidates needs a mixture"
            for module in self.candidates.values():
                total = module(x)
        else:
            weights = mixture.weights[self.row]
            share = 0.0
            for column in mixture.active[self.row]:
                share = share + weights[column]
                choice = self.choices[column]
                if choice in self.candidates:
                    y = weights[column] * self.candidates[choice](x)
                    total = y if total is None else total + y
        if not self.shortcut:
            y = self._zero(x) if total is None else total
        else:
            if total is not None and drops(drop_path):
                total = dropped(total, drop_path, self.world)
            x = x if mixture is None else share * x
            y = x if total is None else x + total
        return y if mixture is None else mixture.with_rest(y, [self.row])

    def _zero(self, x: Tensor) -> Tensor:
        """Return the output of a layer whose candidates are all masked."""
        height, width = ((side - 1) // self.stride + 1 for side in x.shape[2:])
        return x.new_zeros(len(x), self.outputs, height, width)


def _conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )
