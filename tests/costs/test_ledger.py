"""Bytes are counted while tensors live."""

import torch
from torch import nn

from nasrun.costs.ledger import Ledger, sizes


def test_a_ledger_counts_what_lives_and_the_most_that_did():
    with Ledger({}) as ledger:
        first = torch.zeros(1000)
        second = first + 1
        assert ledger.alive == 8000
        del first
        assert ledger.alive == 4000
        view = second.view(10, 100)
        view.mul_(2)
        assert ledger.alive == 4000
    assert ledger.most == 8000


def test_a_ledger_knows_what_a_layer_keeps_for_backward():
    """A linear layer keeps its input, a ReLU its output: 4 bytes each."""
    layer = nn.Linear(10, 20)
    x = torch.rand(5, 10)
    with Ledger(sizes(layer.parameters())) as ledger:
        torch.relu(layer(x)).sum()
    assert ledger.saved == 4 * (5 * 10 + 5 * 20)
    assert ledger.read == 4 * (10 * 20 + 20)


def test_numbers_that_are_equal_but_of_another_type_have_results_of_their_own():
    whole = torch.empty(3, dtype=torch.int32, device="meta")
    with Ledger({}):
        kinds = [(whole * factor).dtype for factor in (2, 2.0, 2, 2.0)]
    assert kinds == 2 * [torch.int32, torch.float32]
