"""The counts of the roofline, against sums that can be done by hand."""

import pytest
import torch
import torch.nn.functional as F


@pytest.fixture
def count(script):
    return script("roofline").count


@pytest.mark.parametrize("groups", [1, 2, 16])
@pytest.mark.parametrize("gradients", [0, 1, 2])
def test_each_gradient_of_a_convolution_takes_what_its_forward_does(count, groups, gradients):
    x = torch.randn(4, 16, 8, 8, requires_grad=gradients > 0)
    weight = torch.randn(16, 16 // groups, 3, 3, requires_grad=gradients > 1)

    def step():
        out = F.conv2d(x, weight, padding=1, groups=groups)
        if gradients:
            out.backward(torch.ones_like(out))

    forward = 2 * x.numel() * weight[0].numel()  # a multiplication and an addition for each tap
    assert count(step)[0] == (1 + gradients) * forward


def test_a_sum_moves_what_it_reads_and_writes_and_a_view_moves_nothing(count):
    a, b = torch.randn(2, 100)
    assert count(lambda: torch.add(a.view(10, 10), b.view(10, 10)))[1] == 3 * 100 * 4
