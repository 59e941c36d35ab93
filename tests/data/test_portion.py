"""A portion of a data set is the front of its batches, and the rest is only counted."""

from types import SimpleNamespace

import torch

from nasrun.data.images import Digits
from nasrun.data.portion import Portion, PortionOfData, PortionOfSplit
from nasrun.data.splits import TensorSplit


def numbered(count):
    """A split whose images are their own numbers."""
    facts = SimpleNamespace(mean=(0.0,), std=(1 / 255,))
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1)
    return TensorSplit(images=images, labels=torch.arange(count), facts=facts, device="cpu")


def walked(split, *arguments, **keywords):
    return [labels.tolist() for _, labels in split.batches(*arguments, **keywords)]


def test_of_every_batch_the_front_is_taken_and_the_whole_is_counted():
    portion = Portion()
    split = PortionOfSplit(numbered(11), portion)
    assert len(split) == 11
    assert walked(split, 4) == walked(numbered(11), 4)
    assert portion.complete
    portion.take(0.5, None)
    assert walked(split, 4) == [[0, 1], [4, 5], [8, 9]]
    assert (portion.asked, portion.whole, portion.images) == ([(3, 11)], 11, 6)
    assert not portion.complete
    portion.take(0.5, 2)
    order = torch.arange(10, 0, -1)
    assert walked(split, 4, order=order) == [[10, 9], [6, 5]]
    assert (portion.asked, portion.whole, portion.batches) == ([(3, 10)], 8, 2)
    portion.take(0.01, None)
    assert walked(split, 5, drop_last=True) == [[0, 1], [5, 6]]


def test_a_data_set_of_portions_is_the_same_but_for_its_batches():
    whole, portion = Digits(), Portion(share=0.25)
    dataset = PortionOfData(whole, portion)
    assert dataset.facts() == whole.facts()
    assert dataset.count_test() == whole.count_test()
    cpu = torch.device("cpu")
    split, other = (each.split("train", device=cpu) for each in (dataset, whole))
    assert len(split) == len(other)
    assert torch.equal(split.labels, other.labels)
    assert [len(labels) for labels in walked(split, 64)][:3] == [16, 16, 16]
