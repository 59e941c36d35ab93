"""Every set is divided into parts: real sets are sorted by class, and files come and go."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.data.holdout import Holdout, Labelled, draws, held_out, stratified


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
    with pytest.raises(
        ValueError, match="class 1, with 1 of 11 images, has none in a part of 6; use"
    ):
        stratified(labels, [6, 5], seed=0)


def test_more_images_than_there_are_is_refused():
    with pytest.raises(ValueError, match="there are only 4"):
        stratified(torch.zeros(4, dtype=torch.int64), [3, 2], seed=0)


def test_the_cap_counts_train_and_validation_together():
    labels = torch.arange(4).repeat_interleave(25)
    holdout = Holdout(images=40, validation=0.2, split_seed=0)
    train, validation = holdout.split(Labelled(labels))
    assert torch.bincount(labels[train]).tolist() == [8, 8, 8, 8]
    assert torch.bincount(labels[validation]).tolist() == [2, 2, 2, 2]
    assert not set(train.tolist()) & set(validation.tolist())


def test_a_fraction_near_1_leaves_an_image_for_training():
    holdout = Holdout(images=64, validation=0.99, split_seed=0)
    train, validation = holdout.split(Labelled(torch.zeros(100, dtype=torch.int64)))
    assert (len(train), len(validation)) == (1, 63)
    with pytest.raises(ValueError, match=r"none in a part of 1; .* nearer to 0.5"):
        holdout.split(Labelled(torch.arange(4).repeat_interleave(25)))


def test_a_cap_above_the_set_takes_everything():
    labels = torch.arange(4).repeat_interleave(25)
    train, validation = Holdout(images=10**6, validation=0.1, split_seed=0).split(Labelled(labels))
    assert (len(train), len(validation)) == (90, 10)


def test_a_given_validation_part_is_kept_under_the_cap():
    labels = torch.arange(2).repeat(50)
    aside = torch.arange(100) >= 80
    train, validation = Holdout(images=50, validation=None, split_seed=0).split(
        Labelled(labels, aside=aside)
    )
    assert (len(train), len(validation)) == (40, 10)
    assert aside[validation].all()
    assert not aside[train].any()


def test_a_cap_that_leaves_no_image_for_training_is_refused():
    images = Labelled(torch.arange(2).repeat(50), aside=torch.arange(100) >= 2)
    with pytest.raises(
        ValueError, match=r"images=10: .* no image for training, which has 2 of all 100; use a"
    ):
        Holdout(images=10, validation=None, split_seed=0).split(images)


def test_a_fraction_beside_a_given_validation_part_is_refused():
    holdout = Holdout(images=None, validation=0.3, split_seed=0)
    with pytest.raises(ValueError, match=r"dataset.validation=0.3: .* use null"):
        holdout.split(Labelled(torch.arange(2).repeat(5), aside=torch.arange(10) > 4))


@pytest.mark.parametrize(
    ("key", "value"), [("images", 0), ("validation", 1.0), ("validation", -0.1)]
)
def test_a_wrong_setting_is_refused_by_name_and_value(key, value):
    settings = {"images": None, "validation": 0.5, "split_seed": 0} | {key: value}
    with pytest.raises(ValueError, match=rf"dataset.{key}={value}: use"):
        Holdout(**settings)


def test_a_refusal_names_the_class_as_the_set_does():
    images = Labelled(torch.tensor([0] * 10 + [1]), ("ant", "bee"))
    with pytest.raises(ValueError, match="class bee, with 1 of 11 images, has none"):
        stratified(images, [6, 5], seed=0)


# By the names of files


def named(names, **settings):
    """Images of classes by the first part of their names."""
    classes = sorted({name.split("/")[0] for name in names})
    labels = torch.tensor([classes.index(name.split("/")[0]) for name in names])
    return Labelled(labels, classes, draws=draws(names, "purpose"), **settings)


def parts(names, **settings):
    """The names in train and in validation."""
    holdout = Holdout(**{"images": None, "validation": 0.3, "split_seed": 0} | settings)
    return [{names[i] for i in part.tolist()} for part in holdout.split(named(names))]


def files(count, *classes):
    return [f"{name}/{number}.png" for name in classes for number in range(count)]


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 400), min_size=40, max_size=200), st.floats(0.2, 0.8))
def test_a_file_stays_in_its_part_whatever_comes_or_goes(numbers, fraction):
    all_names = [f"a/{number}" for number in range(401)]
    some = [f"a/{number}" for number in sorted(numbers)]
    whole, fewer = (
        dict(zip(names, held_out(named(names), fraction).tolist(), strict=True))
        for names in (all_names, some)
    )
    assert all(whole[name] == fewer[name] for name in some)
    train, validation = parts(some, validation=fraction)
    assert train == {name for name in some if not fewer[name]}
    assert validation == {name for name in some if fewer[name]}


def test_the_share_of_every_class_is_the_fraction_on_average():
    out = held_out(named(names := files(2000, "ant", "bee")), 0.2)
    for share in out.view(2, -1).double().mean(1).tolist():
        assert abs(share - 0.2) < 4 * (0.2 * 0.8 / 2000) ** 0.5
    assert len(names) == 4000


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(2, 6), min_size=1, max_size=6), st.floats(0.01, 0.99))
def test_every_class_keeps_an_image_and_gives_one_away(counts, fraction):
    names = [f"{label}/{i}" for label, count in enumerate(counts) for i in range(count)]
    images = named(names)
    out = held_out(images, fraction)
    for label, count in enumerate(counts):
        assert 1 <= int(out[images.labels == label].sum()) < count


def test_a_class_of_one_image_is_refused_by_its_name():
    with pytest.raises(ValueError, match=r"dataset.root: class bee has only 1 image"):
        held_out(named(["ant/1", "ant/2", "bee/1"]), 0.5)


def test_nothing_is_held_out_by_a_fraction_of_0():
    train, validation = parts(files(5, "ant", "bee"), validation=0.0)
    assert (len(train), len(validation)) == (10, 0)


def test_a_cap_takes_its_share_of_both_parts_and_of_all_classes():
    names = files(500, "ant", "bee", "cow")
    whole, capped = parts(names), parts(names, images=300)
    assert sum(map(len, capped)) == 300
    for all_of, some_of in zip(whole, capped, strict=True):
        assert some_of < all_of
        for name in ("ant", "bee", "cow"):
            share = sum(each.startswith(name) for each in all_of) * 300 / 1500
            assert abs(sum(each.startswith(name) for each in some_of) - share) < 2


def test_another_purpose_draws_anew_and_draws_are_uniform():
    names = files(5000, "ant")
    first, second = draws(names, "test"), draws(names, "validation 0")
    assert torch.equal(first, draws(names, "test"))
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.05
    assert 0 <= first.min() < first.max() < 1
    assert torch.histc(first, 10, 0, 1).sub(500).abs().max() < 100


def test_a_cap_that_leaves_none_of_a_reserved_part_is_refused_by_its_key():
    labels = torch.arange(2).repeat_interleave(50)
    aside = torch.zeros(100, dtype=torch.bool)
    aside[[0, 50]] = True
    images = Labelled(labels, None, aside, None)
    with pytest.raises(
        ValueError, match=r"images=9: .* no image for validation, which has 2 of all 100; use a"
    ):
        Holdout(images=9, validation=None, split_seed=0).split(images)
