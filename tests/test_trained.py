"""The training state of a network by name."""

import torch
from torch import nn

from nasrun.trained import state_of


def test_a_state_is_a_copy_under_its_name():
    net = nn.BatchNorm1d(2)
    kept = state_of(net, "head.")
    assert set(kept) == {f"head.{name}" for name in net.state_dict()}
    with torch.no_grad():
        net.weight.zero_()
    assert torch.equal(kept["head.weight"], torch.ones(2))
