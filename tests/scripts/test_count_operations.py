"""The counts of operations, against steps that can be counted by hand."""

import json

import torch


def test_every_operation_is_dispatched_and_a_view_launches_nothing(script):
    a, b = torch.ones(2, 10)
    counted = script("count_operations").count(lambda: torch.add(a.view(5, 2), b.view(5, 2)))
    assert counted.all == {"aten::view": 2, "aten::add.Tensor": 1}
    assert counted.launched == {"aten::add.Tensor": 1}


def test_a_fused_optimizer_counts_once_however_many_tensors_it_moves(script):
    weights = [torch.ones(2, requires_grad=True) for _ in range(5)]
    for weight in weights:
        weight.grad = torch.ones(2)
    optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.9, fused=True)
    counted = script("count_operations").count(optimizer.step)
    assert counted.launched == {"aten::_fused_sgd_": 1}


def test_operations_are_counted_by_part_and_kind(script):
    weight = torch.ones(2, 2, 1, 1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1, fused=True)

    def step():
        torch.nn.functional.conv2d(torch.ones(1, 2, 3, 3), weight).relu().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    parts = script("count_operations").count(step).parts
    assert parts["forward"]["convolutions"] == parts["backward"]["convolutions"] == 1
    assert parts["forward"]["relus"] == parts["backward"]["relus"] == 1
    assert parts["optimizers"] == {"others": 1}


def test_as_on_a_gpu_a_step_dispatches_at_most_a_third_of_the_plain_networks(script):
    counting = script("count_operations")
    with counting.as_on_a_gpu():
        found = {name: counting.count(step) for name, step in counting.steps("darts", 3).items()}
    assert found["ours"].all.total() <= found["plain"].all.total() / 3
    assert found["ours"].launched.total() <= found["plain"].launched.total() / 3


def test_our_step_dispatches_less_than_the_plain_networks(script, monkeypatch, tmp_path):
    counting = script("count_operations")
    file = tmp_path / "counted.json"
    words = ["--space", "nasbench201", "--layers", "3", "--way", "cpu", "--json", str(file)]
    monkeypatch.setattr("sys.argv", ["count_operations.py", *words])
    counting.main()
    found = json.loads(file.read_text())
    assert found["ours"]["launched"]["aten::_fused_adam_"] == 1
    assert found["plain"]["launched"]["aten::convolution"] > 10
    assert found["ratios"]["launched"] < 1
