"""Encoder, actor and critic of DrQ-v2 (2107.09645) made deeper, for PBT-NAS (2307.15621).

There are 36 decisions: 8 of the encoder, 10 of the actor, 18 of the twin critic. Every network has
four layers; the first layer's kind is fixed. The encoder is `Pixels` for images or `Vector` for
states, whose layers choose among the actor's operations (ours).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nasrun.genotype import Decision, Genotype
from nasrun.networks import ActorCritic
from nasrun.ops.spectral import normalise
from nasrun.spaces.drqv2_layers import ConvLayer, DenseLayer, Stack, activate
from nasrun.spaces.modular import ModularSpace

ACTIVATIONS = ("id", "tanh", "relu", "swish")
NORMS = ("plain", "spectral")
DENSE = ("id", "linear", "residual_05", "residual_2")
CONVOLUTIONS = ("id", *(f"{kind}_{k}" for kind in ("conv", "residual", "sep") for k in (3, 5, 7)))
LAYERS = 4
HEADS = ("q1", "q2")


class Encoder(ABC):
    """Builds the layers of a network's encoder."""

    operations: tuple[str, ...]

    @abstractmethod
    def first(self, inputs: int) -> nn.Module:
        """Return the first layer, of a fixed kind, from `inputs` channels or numbers."""

    @abstractmethod
    def layer(self, name: str, activation: str) -> nn.Module:
        """Return the searched layer `name`."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of outputs of the encoder."""

    @abstractmethod
    def scale(self, x: Tensor) -> Tensor:
        """Return an observation in the range and type that the first layer needs."""


@dataclass(frozen=True, kw_only=True)
class Pixels(Encoder):
    """Convolutions on uint8 images of `size` pixels: one of stride 2, then three of stride 1."""

    channels: int
    size: int

    operations = CONVOLUTIONS

    def __post_init__(self) -> None:
        if self.channels < 1 or self.size < 5:
            raise ValueError(
                f"channels={self.channels} size={self.size}: "
                "use 1 channel or more and 5 pixels or more"
            )

    def first(self, inputs: int) -> nn.Module:
        return nn.Conv2d(inputs, self.channels, 3, stride=2)

    def layer(self, name: str, activation: str) -> nn.Module:
        return ConvLayer(name, self.channels, activation)

    @property
    def width(self) -> int:
        return self.channels * ((self.size - 3) // 2 + 1) ** 2

    def scale(self, x: Tensor) -> Tensor:
        return x.float() / 255 - 0.5


@dataclass(frozen=True, kw_only=True)
class Vector(Encoder):
    """Linear layers of `hidden` units on a state."""

    hidden: int

    operations = DENSE

    def __post_init__(self) -> None:
        if self.hidden < 2:
            raise ValueError(f"hidden={self.hidden}: use at least 2")

    def first(self, inputs: int) -> nn.Module:
        return nn.Linear(inputs, self.hidden)

    def layer(self, name: str, activation: str) -> nn.Module:
        return DenseLayer(name, self.hidden)

    @property
    def width(self) -> int:
        return self.hidden

    def scale(self, x: Tensor) -> Tensor:
        return x.float()


@dataclass(frozen=True, kw_only=True)
class DrqSpace(ModularSpace):
    """An encoder, an actor and a twin critic of `hidden` units.

    `feature_dims` lists the sizes to which actor and critic may each reduce the encoder's output;
    the layers whose shapes depend on this decision belong to it.
    """

    encoder: Encoder
    hidden: int
    feature_dims: tuple[int, ...]
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    name = "drqv2"
    makes = ActorCritic

    def __post_init__(self) -> None:
        object.__setattr__(self, "feature_dims", tuple(self.feature_dims))
        if self.hidden < 2:
            raise ValueError(f"hidden={self.hidden}: use at least 2")
        if not self.feature_dims or min(self.feature_dims) < 1:
            raise ValueError(f"feature_dims={list(self.feature_dims)}: use numbers of 1 or more")
        object.__setattr__(self, "decisions", self.narrowed(self._decisions()))

    def _decisions(self) -> list[Decision]:
        sizes = tuple(map(str, self.feature_dims))
        actor = _stack("actor/policy", DENSE)
        reduced = [("feature_dim", sizes), ("trunk_activation", ACTIVATIONS)]
        return [
            *_stack("encoder/layers", self.encoder.operations),
            Decision("encoder/norm", NORMS),
            *actor,
            *(Decision(f"actor/{name}", options) for name, options in reduced),
            Decision("actor/norm", NORMS),
            *(decision for head in HEADS for decision in _stack(f"critic/{head}", DENSE)),
            *(Decision(f"critic/{name}", options) for name, options in reduced),
            *(Decision(f"critic/norm_{head}", NORMS) for head in HEADS),
        ]

    @property
    def owned(self) -> Mapping[str, tuple[str, ...]]:
        owned: dict[str, tuple[str, ...]] = dict.fromkeys(self.names, ())
        for stack in ("encoder/layers", "actor/policy", *(f"critic/{head}" for head in HEADS)):
            for layer in range(1, LAYERS):
                owned[f"{stack}/op{layer}"] = (f"{stack.replace('/', '.')}.layer{layer}",)
        owned["actor/feature_dim"] = ("actor.trunk", "actor.policy.layer0")
        heads = tuple(f"critic.{head}.layer0" for head in HEADS)
        owned["critic/feature_dim"] = ("critic.trunk", *heads)
        return owned

    def network(self, genotype: Genotype, *, inputs: int, outputs: int) -> Agent:
        return Agent(self, self.check(genotype), inputs, outputs)

    def cells(self, genotype: Genotype) -> dict[str, list[tuple[str, str, str]]]:
        cells: dict[str, list[tuple[str, str, str]]] = {}
        for decision in self.decisions:
            chain = cells.setdefault(decision.group, [])
            place, label = len(chain), genotype[decision.name]
            key = decision.name.rpartition("/")[2]
            plain = key.startswith(("op", "act"))
            text = label if plain else f"{key} {label}"
            chain.append((f"s{place}", f"s{place + 1}", text))
        return cells


def _stack(name: str, operations: tuple[str, ...]) -> list[Decision]:
    """Return the decisions of four layers, where the first layer's kind is fixed."""
    searched = [Decision(f"{name}/op{layer}", operations) for layer in range(1, LAYERS)]
    return searched + [Decision(f"{name}/activation{n}", ACTIVATIONS) for n in range(LAYERS)]


class Agent(ActorCritic):
    """Encoder, actor and critic; `forward` returns the action without noise."""

    def __init__(self, space: DrqSpace, genotype: Genotype, inputs: int, actions: int) -> None:
        super().__init__()
        self.encoder = EncoderNetwork(space.encoder, genotype, inputs)
        self.actor = Actor(space, genotype, actions)
        self.critic = Critic(space, genotype, actions)
        self.apply(_initialise)
        normalise(self.encoder, genotype["encoder/norm"] == "spectral")
        normalise(self.actor.policy, genotype["actor/norm"] == "spectral")
        for head in HEADS:
            stack = self.critic.get_submodule(head)
            normalise(stack, genotype[f"critic/norm_{head}"] == "spectral")

    def forward(self, observation: Tensor) -> Tensor:
        return self.actor(self.encoder(observation))


def _initialise(module: nn.Module) -> None:
    """Initialise as DrQ-v2: orthogonal, convolutions scaled for ReLU; call before spectral norm."""
    if isinstance(module, nn.Linear):
        nn.init.orthogonal_(module.weight)
    elif isinstance(module, nn.Conv2d):
        nn.init.orthogonal_(module.weight, nn.init.calculate_gain("relu"))
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _dense(genotype: Genotype, name: str, inputs: int, hidden: int) -> Stack:
    layers: list[nn.Module] = [
        DenseLayer(genotype[f"{name}/op{layer}"], hidden) for layer in range(1, LAYERS)
    ]
    return Stack(nn.Linear(inputs, hidden), layers, _activations(genotype, name))


def _activations(genotype: Genotype, name: str) -> list[str]:
    return [genotype[f"{name}/activation{layer}"] for layer in range(LAYERS)]


class EncoderNetwork(nn.Module):
    """Maps observations to vectors."""

    def __init__(self, encoder: Encoder, genotype: Genotype, inputs: int) -> None:
        super().__init__()
        activations = _activations(genotype, "encoder/layers")
        layers = [
            encoder.layer(genotype[f"encoder/layers/op{layer}"], activations[layer])
            for layer in range(1, LAYERS)
        ]
        self.made_of = encoder
        self.layers = Stack(encoder.first(inputs), layers, activations)

    def forward(self, observation: Tensor) -> Tensor:  # (B, ...) -> (B, width)
        return self.layers(self.made_of.scale(observation)).flatten(1)


class Trunk(nn.ModuleDict):
    """Reduces a vector to `features` numbers and normalises them."""

    def __init__(self, width: int, features: int, activation: str) -> None:
        super().__init__()
        self.activation = activation
        self["linear"] = nn.Linear(width, features)
        self["norm"] = nn.LayerNorm(features)

    def forward(self, x: Tensor) -> Tensor:
        return activate(self.activation, self["norm"](self["linear"](x)))


class Actor(nn.Module):
    """Maps a vector to the mean of the actions, in -1 .. 1."""

    def __init__(self, space: DrqSpace, genotype: Genotype, actions: int) -> None:
        super().__init__()
        features = int(genotype["actor/feature_dim"])
        activation = genotype["actor/trunk_activation"]
        self.trunk = Trunk(space.encoder.width, features, activation)
        self.policy = _dense(genotype, "actor/policy", features, space.hidden)
        self.head = nn.Linear(space.hidden, actions)

    def forward(self, encoded: Tensor) -> Tensor:
        return self.head(self.policy(self.trunk(encoded))).tanh()


class Critic(nn.Module):
    """Maps a vector and actions to two estimates of the return."""

    def __init__(self, space: DrqSpace, genotype: Genotype, actions: int) -> None:
        super().__init__()
        features = int(genotype["critic/feature_dim"])
        activation = genotype["critic/trunk_activation"]
        self.trunk = Trunk(space.encoder.width, features, activation)
        self.q1 = _dense(genotype, "critic/q1", features + actions, space.hidden)
        self.q2 = _dense(genotype, "critic/q2", features + actions, space.hidden)
        self.head1 = nn.Linear(space.hidden, 1)
        self.head2 = nn.Linear(space.hidden, 1)

    def forward(self, encoded: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([self.trunk(encoded), action], dim=1)
        return self.head1(self.q1(x)), self.head2(self.q2(x))
