"""Batches ahead: each copy begins before the batch in front of it is used, and the order stays."""

import pytest
import torch

from nasrun.data.prefetch import moved, one_ahead


def test_a_copy_begins_before_the_batch_ahead_of_it_is_used():
    events = []

    def begin(item):
        events.append(f"copy {item}")
        return item

    for (item,) in one_ahead(range(3), begin, lambda item: [item]):
        events.append(f"use {item}")
    assert events == ["copy 0", "copy 1", "use 0", "copy 2", "use 1", "use 2"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_no_batch_is_lost(count):
    assert [*one_ahead(range(count), lambda x: x, lambda x: [x])] == [[x] for x in range(count)]


def test_on_a_cpu_batches_are_yielded_as_they_come():
    batch = (torch.rand(2, 3), torch.tensor([1, 0]))
    (found,) = moved([batch], torch.device("cpu"))
    assert all(mine is theirs for mine, theirs in zip(found, batch, strict=True))
