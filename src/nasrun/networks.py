"""Kinds of networks by what they do; a task says which kind it trains, a space which it builds."""

from __future__ import annotations

from typing import ClassVar

from torch import nn


class Network(nn.Module):
    """A kind of network; messages describe it by `words`, its `spaces` and its `tasks`."""

    words: ClassVar[str]
    spaces: ClassVar[str]
    tasks: ClassVar[str]


class ImageClassifier(Network):
    """Maps images (B, C, H, W) to a tuple of logits (B, classes).

    The tuple has the classifier's and, in training, the auxiliary head's, if any. `drop_path` is
    the probability that a path is dropped for a sample in training.
    """

    words = "networks that classify images"
    spaces = "space=darts, mobile, morph, nasbench101 or nasbench201"
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
    """An encoder of observations, and an actor and a twin critic on its output."""

    words = "an actor and a critic"
    spaces = "space=drqv2 or drqv2_state"
    tasks = "task=rl or rl_pixels"
    encoder: nn.Module
    actor: nn.Module
    critic: nn.Module
