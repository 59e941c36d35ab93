"""Dense convolutions: torch's numbers, and never the gradient that writes past its memory."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nasrun import ops
from nasrun.ops.convolution import Convolution
from nasrun.ops.mbconv import ProjectionShortcut
from nasrun.ops.operation import Sum
from nasrun.ops.state import State
from nasrun.spaces.gan_operation import PreActivation

BACKWARD = torch.ops.aten.convolution_backward.default


class Backwards(TorchDispatchMode):
    """Collects kernel and stride of every dense convolution whose weights get a gradient."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, arguments=(), words=None):
        if function is BACKWARD:
            *_, weight, _, stride, _, _, _, _, groups, wanted = arguments
            if groups == 1 and wanted[1]:
                self.found.append((tuple(weight.shape[2:]), tuple(stride)))
        return function(*arguments, **(words or {}))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2, 3, (1, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_torch(kernel, stride, bias):
    torch.manual_seed(0)
    ours = Convolution(3, 5, kernel, stride, kernel // 2, bias=bias).double()
    theirs = nn.Conv2d(3, 5, kernel, stride, kernel // 2, bias=bias).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    found = []
    for layer in (ours, theirs):
        given = x.clone().requires_grad_()  # channels first, where torch's gradient is right
        y = layer(given)
        y.square().sum().backward()
        found.append([y, given.grad, *(each.grad for each in layer.parameters())])
    torch.testing.assert_close(found[0], found[1])
    with torch.no_grad():
        torch.testing.assert_close(ours(x), found[0][0])


def last(channels):
    x = torch.randn(2, channels, 8, 8).to(memory_format=torch.channels_last)
    return x.requires_grad_()


@pytest.mark.parametrize("name", sorted(ops.known()))
def test_no_operation_asks_for_the_weight_gradient_of_a_strided_pointwise_convolution(name):
    operation = ops.build(name, 4, 2, True).to(memory_format=torch.channels_last).train()
    with Backwards() as seen:
        y = Sum((operation.term(State(last(4))),)).map()
        if y.requires_grad:  # noise does not read its input
            y.sum().backward()
    assert ((1, 1), (2, 2)) not in seen.found


@pytest.mark.parametrize(
    "make",
    [lambda: ProjectionShortcut(4, 6, 2, True), lambda: PreActivation("conv_1x1", 4, 6, stride=2)],
)
def test_nor_does_a_shortcut_or_an_operation_of_a_gan(make):
    layer = make().to(memory_format=torch.channels_last)
    with Backwards() as seen:
        layer(last(4)).sum().backward()
    assert seen.found == [((1, 1), (1, 1))]
