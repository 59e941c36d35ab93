"""Settings that several owners refuse."""

import math
from types import SimpleNamespace

import pytest

from nasrun.refusing import refuse_below, refuse_clip


def test_a_number_below_its_least_is_refused_by_its_key():
    owner = SimpleNamespace(rounds=1, images=1)
    refuse_below(owner, rounds=1)
    with pytest.raises(ValueError, match=r"^images=1: use at least 2$"):
        refuse_below(owner, rounds=1, images=2)


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan])
def test_a_clip_that_would_stop_or_turn_gradients_around_is_refused(clip):
    refuse_clip(weight_clip=None, alpha_clip=0.5)
    with pytest.raises(ValueError, match=rf"^alpha_clip={clip}: use more than 0, or null"):
        refuse_clip(weight_clip=1.0, alpha_clip=clip)
