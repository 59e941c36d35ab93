"""Moments that are kept by name are restored to the right parameters."""

import torch
from torch import nn

from nasrun.tasks.moments import device_of, moments_of, restore_moments


def test_a_step_count_goes_where_its_kernel_counts():
    there, count, moment = torch.empty(3, device="meta"), torch.tensor(4.0), torch.zeros(3)
    assert device_of(moment, there, {"fused": None}).type == "meta"
    assert device_of(count, there, {"fused": None}).type == "cpu"
    assert device_of(count, there, {"fused": True}).type == "meta"
    assert device_of(count, there, {"capturable": True}).type == "meta"


def test_a_step_after_a_return_is_the_step_without_one():
    torch.manual_seed(0)
    nets = [nn.Linear(3, 2), nn.Linear(3, 2)]
    nets[1].load_state_dict(nets[0].state_dict())
    x, made = torch.randn(5, 3), [torch.optim.AdamW(n.parameters(), fused=True) for n in nets]
    for _ in range(2):
        for net, optimizer in zip(nets, made, strict=True):
            optimizer.zero_grad()
            net(x).square().sum().backward()
            optimizer.step()
        fresh = torch.optim.AdamW(nets[1].parameters(), fused=True)
        restore_moments(nets[1], [fresh], moments_of(nets[1], [made[1]]))
        made[1] = fresh
        for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            assert torch.equal(one, other)


def test_moments_of_any_layout_get_the_one_of_their_parameter():
    net = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(2, 4, 5, 5)).sum().backward()
    optimizer.step()
    saved = moments_of(net, [optimizer])
    for kept in saved.values():
        kept.update({name: value.contiguous() for name, value in kept.items()})
    restore_moments(net, [optimizer], saved)
    state = optimizer.state[net.weight]
    for name in ("exp_avg", "exp_avg_sq"):  # a fused step on a GPU refuses other strides
        assert state[name].stride() == net.weight.stride()
        assert torch.equal(state[name], saved["weight"][name])
