"""Morphs: changes of a trained network that keep its function (Net2Net, 1511.05641; 1603.01670).

`Deep` inserts a layer, `Wide` repeats units of a layer, `Connect` adds a skip connection, as in
Auto-Keras (1806.10282). Each is the change of a genotype (`grown`) and of the tensors of a trained
network (`applied`); logits in evaluation mode stay the same. Layers are numbered from 1.

Where we differ from the released code: it adds noise, so that repeated units can become different.
Here the weights that read a repeated unit are divided in random shares, which has the same effect
and keeps the function.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from nasrun.genotype import Genotype
from nasrun.spaces.morph_layers import JOINS, Chain, ChainLayer, Join, Skip
from nasrun.trained import Tensors, Trained

Each = TypeVar("Each")

EPS = 1e-5
"""What torch's batch norms add to the variance."""
LEAST_VARIANCE = 1e-2
"""Ours: a new batch norm expects at least this variance, even of units that seem to be dead."""

SCALES = ("exp_avg_sq", "max_exp_avg_sq", "exp_inf", "square_avg", "acc_delta", "sum")
"""What torch's optimizers keep of the squares or sizes of gradients: a scale, no direction."""


class Morph(ABC):
    """A change of a network that keeps its function; `str` gives the text that `read` reads."""

    @abstractmethod
    def on(self, chain: Chain) -> Chain:
        """Return the changed network; ValueError if the network cannot be changed so."""

    @abstractmethod
    def applied(self, trained: Trained, genotype: Genotype, generator: torch.Generator) -> Trained:
        """Return the changed training state of a network; the arguments do not change.

        Tensors that stay the same are shared with them.
        The optimizer's next step changes the function as it would have without the morph: moments
        of a parameter change like its weights, and new parameters have none.
        """

    def grown(self, genotype: Genotype) -> Genotype:
        """Return the genotype of the changed network."""
        return self.on(Chain.of(genotype)).genotype()


def replayed(
    trained: Trained, genotype: Genotype, morphs: Sequence[Morph], generator: torch.Generator
) -> tuple[Trained, Genotype]:
    """Return a trained network and its genotype after several morphs, one after the other."""
    for morph in morphs:
        trained = morph.applied(trained, genotype, generator)
        genotype = morph.grown(genotype)
    return trained, genotype


def read(text: str) -> Morph:
    """Return the morph of a text such as `deep 3 conv5`, `wide 2 4` or `add 1 3`."""
    if found := re.fullmatch(r"deep (\d+) (conv\d+|dense)", text):
        return Deep(int(found[1]), found[2])
    if found := re.fullmatch(r"wide (\d+) (\d+)", text):
        return Wide(int(found[1]), int(found[2]))
    if found := re.fullmatch(r"(\w+) (\d+) (\d+)", text):
        for kind in JOINS:
            if kind == found[1]:
                return Connect(int(found[2]), int(found[3]), kind)
    raise ValueError(
        f"{text!r} is not a morph; use texts such as deep 3 conv5, wide 2 4 or add 1 3"
    )


@dataclass(frozen=True)
class Deep(Morph):
    """Insert a layer after layer `after` that returns its input: `conv1`, `conv3`, ... or `dense`.

    Its convolution is the identity. So is its batch norm in evaluation mode, with the mean and the
    variance that a normally distributed map has after a ReLU: weight = sqrt(variance + eps), bias =
    mean. Its ReLU changes nothing, since no layer returns negative numbers.
    """

    after: int
    layer: str

    def __str__(self) -> str:
        return f"deep {self.after} {self.layer}"

    def on(self, chain: Chain) -> Chain:
        if not 1 <= self.after <= len(chain.layers):
            raise ValueError(f"{self}: there are {len(chain.layers)} layers; use one of them")
        return chain.inserted(
            self.after, ChainLayer.read(f"{self.layer}_w{chain.width(self.after)}")
        )

    def applied(self, trained: Trained, genotype: Genotype, generator: torch.Generator) -> Trained:
        chain = Chain.of(genotype)
        assert self.on(chain)
        place = self.after + 1
        return Trained(
            network=self._renamed(trained.network) | self._inserted(trained.network, chain, place),
            averages={
                key: self._renamed(own) | self._inserted(own, chain, place)
                for key, own in trained.averages.items()
            },
            moments=self._renamed(trained.moments),
            memory=trained.memory,
        )

    def _renamed(self, named: dict[str, Each]) -> dict[str, Each]:
        """Return the same entries with the numbers of later layers raised by one."""

        def raised(found: re.Match[str]) -> str:
            number = int(found[2])
            return f"{found[1]}{number + (number > self.after)}."

        return {
            re.sub(r"(\.joins\.)(\d+)\.", raised, re.sub(r"^(layers\.)(\d+)\.", raised, name)): each
            for name, each in named.items()
        }

    def _inserted(self, own: Tensors, chain: Chain, place: int) -> Tensors:
        """Return the tensors of the new layer."""
        name = f"layers.{place}"
        number = self.after  # of the layer that computes what the new one reads
        while chain.layer(number).kind == "pool":
            number -= 1
        like = own[f"layers.{number}.map.weight"]
        identity = torch.eye(len(like), dtype=like.dtype, device=like.device)
        if self.layer == "dense":
            return {f"{name}.map.weight": identity, f"{name}.map.bias": like.new_zeros(len(like))}
        kernel = ChainLayer.read(f"{self.layer}_w1").kernel
        weight = like.new_zeros(len(like), len(like), kernel, kernel)
        weight[:, :, kernel // 2, kernel // 2] = identity
        before = f"layers.{number}.norm"
        mean, variance = rectified(own[f"{before}.bias"], own[f"{before}.weight"].abs())
        variance = variance.clamp(min=LEAST_VARIANCE)
        return {
            f"{name}.map.weight": weight,
            f"{name}.norm.weight": (variance + EPS).sqrt(),
            f"{name}.norm.bias": mean.clone(),
            f"{name}.norm.running_mean": mean,
            f"{name}.norm.running_var": variance,
            f"{name}.norm.num_batches_tracked": torch.zeros_like(
                own[f"{before}.num_batches_tracked"]
            ),
        }


@dataclass(frozen=True)
class Wide(Morph):
    """Make layer `layer` wider, `width` times the channels, by repeating units.

    The convolution, its batch norm and the skip connections into the layer get repeated rows. Those
    that read the layer get repeated columns: the next layer or the classifier, skip connections
    from it, and what a `concat` into it reads of itself. A column is divided among the repetitions
    of its unit in random shares.
    """

    layer: int
    width: int

    def __str__(self) -> str:
        return f"wide {self.layer} {self.width}"

    def on(self, chain: Chain) -> Chain:
        if not 1 <= self.layer <= len(chain.layers) or chain.layer(self.layer).kind == "pool":
            raise ValueError(f"{self}: layer{self.layer} is a pool or does not exist; use another")
        old = chain.layer(self.layer)
        if self.width <= old.width:
            raise ValueError(f"{self}: the layer is {old.width} wide; use more")
        layers = list(chain.layers)
        layers[self.layer - 1] = replace(old, width=self.width)
        return Chain(tuple(layers), chain.skips)

    def applied(self, trained: Trained, genotype: Genotype, generator: torch.Generator) -> Trained:
        chain = Chain.of(genotype)
        assert self.on(chain)
        units = len(trained.network[f"layers.{self.layer}.map.weight"])
        wanted = units * self.width // chain.layer(self.layer).width
        repeats = Repeats.drawn(units, wanted, generator)
        columns = self._columns(chain, trained.network)
        shares = {name: repeats.shares(len(trained.network[name]), generator) for name in columns}

        def changed(name: str, tensor: Tensor, *, divided: bool = True) -> Tensor:
            if tensor.dim() == 0:  # a count
                return tensor
            if name in columns:
                tensor = repeats.columns(tensor, columns[name], shares[name] if divided else None)
            return repeats.rows(tensor) if self._has_rows(name) else tensor

        def all_changed(own: Tensors) -> Tensors:
            return {name: changed(name, tensor) for name, tensor in own.items()}

        return Trained(
            network=all_changed(trained.network),
            averages={key: all_changed(own) for key, own in trained.averages.items()},
            moments={
                name: {
                    key: changed(name, tensor, divided=key not in SCALES)
                    for key, tensor in kept.items()
                }
                for name, kept in trained.moments.items()
            },
            memory=trained.memory,
        )

    def _has_rows(self, name: str) -> bool:
        """Return whether a tensor has one row per unit: all of the layer, its skips included."""
        return name.startswith(f"layers.{self.layer}.")

    def _columns(self, chain: Chain, own: Tensors) -> dict[str, int]:
        """Return the weights with a column per unit, each with the first of these columns."""
        after = self.layer + 1
        while after <= len(chain.layers) and chain.layer(after).kind == "pool":
            after += 1
        last = after > len(chain.layers)
        found = {"classifier.weight" if last else f"layers.{after}.map.weight": 0}
        for skip in chain.leaving(self.layer):
            name = f"layers.{skip.target}.joins.{skip.source}.map.weight"
            found[name] = len(own[name]) if skip.kind == "concat" else 0  # behind those of itself
        for skip in chain.entering(self.layer):
            if skip.kind == "concat":
                found[f"layers.{skip.target}.joins.{skip.source}.map.weight"] = 0
        return found


@dataclass(frozen=True)
class Connect(Morph):
    """Add a skip connection from layer `source` to layer `target` that brings nothing yet.

    The 1x1 convolution of `add` is zero; that of `concat` returns what was there, and has zeros for
    what is new.
    """

    source: int
    target: int
    kind: Join

    def __str__(self) -> str:
        return f"{self.kind} {self.source} {self.target}"

    def on(self, chain: Chain) -> Chain:
        return Chain(chain.layers, (*chain.skips, Skip(self.source, self.target, self.kind)))

    def applied(self, trained: Trained, genotype: Genotype, generator: torch.Generator) -> Trained:
        assert self.on(Chain.of(genotype))
        return Trained(
            network=self._joined(trained.network),
            averages={key: self._joined(own) for key, own in trained.averages.items()},
            moments=dict(trained.moments),
            memory=trained.memory,
        )

    def _joined(self, own: Tensors) -> Tensors:
        """Return the tensors with those of the skip connection."""
        target, source = (own[f"layers.{n}.map.weight"] for n in (self.target, self.source))
        weight = target.new_zeros(len(target), len(source))
        if self.kind == "concat":
            identity = torch.eye(len(target), dtype=target.dtype, device=target.device)
            weight = torch.cat([identity, weight], dim=1)
        if target.dim() == 4:
            weight = weight[:, :, None, None]
        return own | {f"layers.{self.target}.joins.{self.source}.map.weight": weight}


@dataclass(frozen=True)
class Repeats:
    """The old unit that each unit repeats: all old ones in order, then the further ones."""

    old: Tensor  # (units,)

    @classmethod
    def drawn(cls, units: int, wanted: int, generator: torch.Generator) -> Repeats:
        """Draw which units are repeated: no unit much more often than another."""
        drawn = [torch.arange(units)]
        while sum(map(len, drawn)) < wanted:
            drawn.append(torch.randperm(units, generator=generator))
        return cls(torch.cat(drawn)[:wanted])

    def shares(self, rows: int, generator: torch.Generator) -> Tensor:
        """Draw shares (rows, units) of old weights; those of the repetitions of a unit sum to 1."""
        size = (rows, len(self.old))
        drawn = 0.5 + torch.rand(size, generator=generator, dtype=torch.float64)
        total = drawn.new_zeros(rows, int(self.old.max()) + 1).index_add(1, self.old, drawn)
        return drawn / total[:, self.old]

    def rows(self, tensor: Tensor) -> Tensor:
        """Return the rows of all units."""
        return tensor[self.old.to(tensor.device)]

    def columns(self, tensor: Tensor, first: int, shares: Tensor | None) -> Tensor:
        """Return the columns of all units; those of old units begin at `first`."""
        units = int(self.old.max()) + 1
        before, own, behind = tensor.tensor_split([first, first + units], dim=1)
        own = own[:, self.old.to(tensor.device)]
        if shares is not None:
            parts = shares.to(tensor.device, tensor.dtype)
            own = own * parts.reshape(*parts.shape, *(1,) * (tensor.dim() - 2))
        return torch.cat([before, own, behind], dim=1)


def rectified(mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of max(0, x), where x is normally distributed."""
    deviation = deviation.clamp(min=1e-12)
    above = mean / deviation
    share = torch.special.ndtr(above)
    density = torch.exp(-above.square() / 2) / (2 * torch.pi) ** 0.5
    first = mean * share + deviation * density
    second = (mean.square() + deviation.square()) * share + mean * deviation * density
    return first, (second - first.square()).clamp(min=0.0)
