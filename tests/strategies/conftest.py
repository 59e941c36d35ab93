"""Spaces of networks that grow."""

from dataclasses import replace

import pytest

from nasrun.spaces.morph import MorphSpace


@pytest.fixture(scope="session")
def morph_space():
    """A space of small networks."""
    return MorphSpace(
        channels=2,
        start=["conv3_w1", "pool", "conv3_w1"],
        kernels=[1, 3, 5],
        skips=["add", "concat"],
        deepest=8,
        widest=8,
        largest=100_000,
    )


@pytest.fixture(scope="session")
def smallest(morph_space):
    """The space that has only the first network."""
    return replace(morph_space, largest=morph_space.size(morph_space.starts()[0]))
