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


def test_a_result_that_is_known_is_that_of_the_operation_itself():
    """Whatever it is: new, changed in place with or without its shape, a view, one of several."""
    x = torch.rand(2, 3, 4, 4)

    def results(x, weight, repeat):
        found = []
        for _ in range(repeat):
            given = x.clone()
            changed = given.mul_(2)
            assert changed is given
            out = torch.empty(2, 3, 4, 4, device=x.device)
            torch.add(given, 1, out=out)
            turned = given.clone().transpose_(0, 1).unsqueeze_(0)
            gradients = torch.ops.aten.convolution_backward(
                x, x, weight, [3], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [False, True, True]
            )
            tensors = [changed, out, turned, x[0], *torch.max(x, 1), *gradients[1:]]
            assert gradients[0] is None
            found.append([(t.shape, t.stride(), t.dtype) for t in tensors])
        return found

    weight = torch.rand(3, 3, 3, 3)
    (expected,) = results(x, weight, 1)
    with Ledger({}):
        assert results(x.to("meta"), weight.to("meta"), 3) == 3 * [expected]


def test_numbers_are_computed_each_time_where_there_are_any():
    """Optimizers count their steps on the CPU, whatever the device."""
    step, several = torch.zeros(()), [torch.zeros(2), torch.zeros(3)]
    with Ledger({}):
        for _ in range(3):
            step.add_(1)
            torch._foreach_add_(several, 1)
    assert step == 3
    assert all((each == 3).all() for each in several)
