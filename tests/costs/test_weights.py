"""The check that a machine can hold a network's weights, from their shapes."""

import pytest
from torch import nn

from nasrun.costs import weights
from nasrun.costs.weights import refuse_weights


def test_weights_are_refused_from_the_first_byte_that_is_too_much(monkeypatch):
    need = 4 * (7 * 5 + 5)
    monkeypatch.setattr(weights, "installed_bytes", lambda: need)
    refuse_weights(lambda: nn.Linear(7, 5), "width=5", "fewer")
    monkeypatch.setattr(weights, "installed_bytes", lambda: need - 1)
    with pytest.raises(ValueError, match=r"^width=5: the weights alone take .*; use fewer$"):
        refuse_weights(lambda: nn.Linear(7, 5), "width=5", "fewer")


def test_a_size_that_torch_cannot_count_is_refused_too():
    with pytest.raises(ValueError, match=r"^width=9: no machine can hold the weights; use fewer$"):
        refuse_weights(lambda: nn.Linear(2**31, 2**31), "width=9", "fewer")
