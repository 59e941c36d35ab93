"""The space of DrQ-v2's agents: a decision changes the part that it names, and no other."""

import pytest
import torch

from nasrun.ops.spectral import SpectralNorm
from nasrun.spaces.drqv2 import Agent, DrqSpace, Pixels

SPACE = DrqSpace(encoder=Pixels(channels=2, size=12), hidden=8, feature_dims=(4,))
NORMS = ("encoder/norm", "actor/norm", "critic/norm_q1", "critic/norm_q2")


def test_a_part_is_spectrally_normalised_if_its_own_decision_says_so():
    sampled = SPACE.sample(torch.Generator().manual_seed(0))
    for part in NORMS:
        agent = Agent(SPACE, {**sampled, **dict.fromkeys(NORMS, "plain"), part: "spectral"}, 3, 2)
        homes = (agent.encoder, agent.actor.policy, agent.critic.q1, agent.critic.q2)
        for name, home in zip(NORMS, homes, strict=True):
            norms = [each for each in home.modules() if isinstance(each, SpectralNorm)]
            assert norms
            assert all(each.enabled == (name == part) for each in norms)


def test_a_decision_that_is_written_twice_is_refused():
    text = SPACE.render(SPACE.sample(torch.Generator().manual_seed(0)))
    assert SPACE.render(SPACE.parse(text)) == text
    for twice in (f"{text}; encoder norm=plain", f"{text} norm_q2=plain"):
        with pytest.raises(ValueError, match=r"norm(_q2)? twice; give it once$"):
            SPACE.parse(twice)
