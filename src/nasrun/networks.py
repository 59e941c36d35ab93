"""What a network does, whichever space it is of: a task says what kind it trains."""

from __future__ import annotations

from typing import ClassVar

from torch import nn


class Network(nn.Module):
    """A kind of network: `words` in a user's, `spaces` that have it, `tasks` that train it."""

    words: ClassVar[str]
    spaces: ClassVar[str]
    tasks: ClassVar[str]


class ImageClassifier(Network):
    """Maps images (B, C, H, W) to a tuple of logits (B, classes).

    The classifier's, then in training the auxiliary head's if it has one. `drop_path` is the
    probability that a path is dropped for a sample while training.
    """

    words = "networks that classify images"
    spaces = "space=darts, mobile or nasbench201"
    tasks = "task=classification"
    drop_path: float


class Adversaries(Network):
    """Two networks: `generator` maps (B, latent) to images of `size` pixels in -1 .. 1."""

    words = "a generator and a discriminator"
    spaces = "space=gan or gan_hard"
    tasks = "task=gan"
    generator: nn.Module
    discriminator: nn.Module
    latent: int
    size: int


class ActorCritic(Network):
    """An encoder of observations, an actor and a twin critic on what it gives."""

    words = "an actor and a critic"
    spaces = "space=drqv2 or drqv2_state"
    tasks = "task=rl or rl_pixels"
    encoder: nn.Module
    actor: nn.Module
    critic: nn.Module
