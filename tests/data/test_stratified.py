"""The one function that divides every set: real sets come sorted by class."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.data.images import Holdout, stratified


@st.composite
def divisions(draw):
    """Labels sorted by class, and sizes of up to three parts; the rest is left out."""
    counts = draw(st.lists(st.integers(1, 40), min_size=1, max_size=7))
    total = sum(counts)
    cuts = sorted(draw(st.lists(st.integers(0, total), min_size=1, max_size=3)))
    sizes = [end - start for start, end in zip([0, *cuts], cuts, strict=False)]
    return counts, sizes, draw(st.integers(0, 3))


@settings(max_examples=300, deadline=None)
@given(divisions())
def test_parts_are_disjoint_have_exact_sizes_and_every_class_within_one_of_its_share(division):
    counts, sizes, seed = division
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    try:
        parts = stratified(labels, sizes, seed)
    except ValueError as error:
        assert "has none in a part" in str(error)  # noqa: PT017
        # refused only where the share of some class in some part is small
        assert any(0 < size * count < 2 * len(labels) for size in sizes for count in counts)
        return
    assert [len(part) for part in parts] == sizes
    together = torch.cat(parts).tolist()
    assert len(set(together)) == len(together)
    for size, part in zip(sizes, parts, strict=True):
        held = torch.bincount(labels[part], minlength=len(counts)).tolist()
        for mine, count in zip(held, counts, strict=True):
            assert abs(mine - size * count / len(labels)) <= 1
            assert mine > 0 or size == 0


def test_equal_classes_are_divided_exactly():
    labels = torch.arange(10).repeat_interleave(50)
    for part in stratified(labels, [250, 250], seed=3):
        assert torch.bincount(labels[part]).tolist() == [25] * 10


def test_a_small_part_of_nearly_equal_classes_still_gets_one_image_of_each():
    counts = torch.tensor([142, 146, 141, 147, 145, 145, 145, 143, 139, 144])
    labels = torch.arange(10).repeat_interleave(counts)
    for part in stratified(labels, [10, 10], seed=0):
        assert torch.bincount(labels[part]).tolist() == [1] * 10


def test_the_seed_alone_decides_and_the_global_generator_is_not_touched():
    labels = torch.arange(5).repeat_interleave(20)
    state = torch.get_rng_state()
    first = stratified(labels, [60, 40], seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    again, other = stratified(labels, [60, 40], seed=1), stratified(labels, [60, 40], seed=2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_parts_are_not_sorted_by_class():
    labels = torch.arange(5).repeat_interleave(20)
    (part,) = stratified(labels, [100], seed=0)
    assert (labels[part].diff() < 0).any()


def test_a_part_too_small_for_a_class_is_refused_and_names_the_class():
    labels = torch.tensor([0] * 10 + [1])
    with pytest.raises(ValueError, match=r"class 1, with 1 of 11 images, .* would do"):
        stratified(labels, [6, 5], seed=0)


def test_more_images_than_there_are_is_refused():
    with pytest.raises(ValueError, match="there are only 4"):
        stratified(torch.zeros(4, dtype=torch.int64), [3, 2], seed=0)


def test_the_cap_counts_train_and_validation_together():
    labels = torch.arange(4).repeat_interleave(25)
    holdout = Holdout(images=40, validation=0.2, split_seed=0)
    train, validation = holdout.split(labels)
    assert torch.bincount(labels[train]).tolist() == [8, 8, 8, 8]
    assert torch.bincount(labels[validation]).tolist() == [2, 2, 2, 2]
    assert not set(train.tolist()) & set(validation.tolist())


def test_a_cap_above_the_set_takes_everything():
    labels = torch.arange(4).repeat_interleave(25)
    train, validation = Holdout(images=10**6, validation=0.1, split_seed=0).split(labels)
    assert (len(train), len(validation)) == (90, 10)


def test_a_given_validation_part_is_kept_under_the_cap():
    labels = torch.arange(2).repeat(50)
    aside = torch.arange(100) >= 80
    train, validation = Holdout(images=50, validation=None, split_seed=0).split(labels, aside)
    assert (len(train), len(validation)) == (40, 10)
    assert aside[validation].all()
    assert not aside[train].any()


def test_a_fraction_beside_a_given_validation_part_is_refused():
    holdout = Holdout(images=None, validation=0.3, split_seed=0)
    with pytest.raises(ValueError, match=r"dataset.validation=0.3: .* dataset.validation=null"):
        holdout.split(torch.arange(2).repeat(5), torch.arange(10) > 4)


@pytest.mark.parametrize(
    ("key", "value"), [("images", 0), ("validation", 1.0), ("validation", -0.1)]
)
def test_a_wrong_setting_is_refused_by_name_and_value(key, value):
    settings = {"images": None, "validation": 0.5, "split_seed": 0} | {key: value}
    with pytest.raises(ValueError, match=rf"dataset.{key}={value}: .* would do"):
        Holdout(**settings)
