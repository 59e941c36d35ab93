"""The time that a choice adds to a network, with a fake clock."""

import time

import pytest
import torch
from toys import DARTS

from nasrun.budget import Budget
from nasrun.costs.latency import WARM_UP, Stopwatch
from nasrun.genotype import NONE
from nasrun.spaces.layout import Layout

CPU = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)


@pytest.fixture
def watch(monkeypatch):
    """Return a stopwatch with a clock that runs only in operations.

    An operation takes a second, a pair of poolings takes two.
    """

    def make(seconds, repeats=3):
        clock = [0.0]
        monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
        layout = Layout(channels=4, layers=3)
        size = {"inputs": 1, "outputs": 2, "size": 8}
        made = Stopwatch(DARTS, layout, CPU, **size, batch=2, repeats=repeats)

        class Ticking(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.passes = 0

            def forward(self, images, mixture):
                assert images.shape == (2, 1, 8, 8)
                assert not torch.is_grad_enabled()
                self.passes += 1
                warm = (self.passes - 1) % (WARM_UP + repeats) < WARM_UP
                spent = seconds(mixture.active)
                clock[0] += 100.0 if warm else spent

        made.network = Ticking()
        made.base = made._alone()
        return made

    return make


def test_a_choice_takes_what_it_adds_to_the_empty_network(watch):
    def seconds(active):
        ((row, column),) = [(r, c) for r, row in enumerate(active) for c in row] or [(0, -3)]
        return 3.0 + row + 0.5 * column + (1.5 if column == -3 else 0)

    made = watch(seconds)
    assert made.base == pytest.approx(3000.0)
    found = {(name, choice): more for name, choice, more in made.choices()}
    assert len(found) == sum(len(decision.choices) for decision in DARTS.decisions)
    for row, decision in enumerate(DARTS.decisions):
        for column, choice in enumerate(decision.choices):
            expected = 0.0 if choice == NONE else 1e3 * (row + 0.5 * column)
            assert found[decision.name, choice] == pytest.approx(expected)


def test_no_choice_takes_less_than_nothing(watch):
    made = watch(lambda active: 1.0 if any(active) else 3.0)
    assert {more for _, _, more in made.choices()} == {0.0}


def test_a_whole_network_is_timed_as_it_is_retrained():
    layout = Layout(channels=4, layers=3, auxiliary=True)
    made = Stopwatch(DARTS, layout, CPU, inputs=1, outputs=2, size=8, batch=2, repeats=1)
    assert made.whole(DARTS.sample(torch.Generator().manual_seed(0))) > 0
