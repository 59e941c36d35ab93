"""Augmentation against per-image formulas and torchvision."""

import pytest
import torch

from nasrun.data.augment import Augment, crop_sides, normalise
from nasrun.data.colour import jitter
from nasrun.data.facts import Facts

PLAIN = {"padding": 0.0, "flip": False}


def facts(size=32, channels=3, flip=True):
    """A set whose normalisation changes nothing but the scale."""
    zeros, ones = (0.0,) * channels, (1.0,) * channels
    return Facts("test", ("a", "b"), channels, size, zeros, ones, flip)


def pictures(count=16, size=32, channels=3):
    generator = torch.Generator().manual_seed(0)
    shape = (count, channels, size, size)
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=generator)


def test_normalisation_is_pixel_minus_mean_over_std_in_channels_last():
    images = pictures()
    known = Facts("test", ("a", "b"), 3, 32, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), flip=True)
    result = normalise(images, known)
    mean, std = torch.tensor(known.mean).view(3, 1, 1), torch.tensor(known.std).view(3, 1, 1)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, (images.double() / 255 - mean) / std, check_dtype=False)


def test_without_any_change_it_only_normalises():
    images = pictures()
    assert torch.equal(Augment(**PLAIN)(images, facts()), normalise(images, facts()))


def test_every_crop_is_a_window_of_the_zero_padded_image():
    images = pictures(count=64, size=8)
    crops = Augment(padding=0.25, flip=False)(images, facts(size=8))
    padded = torch.zeros(64, 3, 12, 12)
    padded[:, :, 2:10, 2:10] = images.float() / 255
    found = set()
    for crop, image in zip(crops, padded, strict=True):
        places = [
            (row, column)
            for row in range(5)
            for column in range(5)
            if torch.allclose(crop, image[:, row : row + 8, column : column + 8])
        ]
        assert len(places) == 1
        found.update(places)
    assert len(found) > 15  # of 25 places


def test_a_flip_mirrors_about_half_of_the_images_and_only_where_the_set_allows_it():
    images = pictures(count=400, size=4)
    flip = Augment(padding=0.0, flip=True)
    result = flip(images, facts(size=4))
    mirrored = [
        torch.allclose(a, b.flip(2).float() / 255) for a, b in zip(result, images, strict=True)
    ]
    kept = [torch.allclose(a, b.float() / 255) for a, b in zip(result, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 150 < sum(mirrored) < 250
    digits = facts(size=4, flip=False)
    assert torch.equal(flip(images, digits), normalise(images, digits))


def test_cutout_erases_one_square_clipped_at_the_border():
    images = torch.full((500, 3, 32, 32), 255, dtype=torch.uint8)
    holes = Augment(**PLAIN, cutout=0.5)(images, facts()) == 0
    assert torch.equal(holes[:, 0], holes[:, 2])
    heights, widths = holes[:, 0].any(2).sum(1), holes[:, 0].any(1).sum(1)
    assert torch.equal(heights * widths, holes[:, 0].sum((1, 2)))  # a full rectangle
    assert (heights.min(), heights.max()) == (8, 16)
    for rows in holes[:, 0].any(2):  # shorter than 16 only at a border
        assert rows.sum() == 16 or rows[0] or rows[-1]


def test_cutout_erases_the_area_that_a_uniform_centre_predicts():
    images = torch.full((4000, 1, 32, 32), 255, dtype=torch.uint8)
    area = (Augment(**PLAIN, cutout=0.5)(images, facts(channels=1)) == 0).float().mean()
    side = sum(min(centre + 8, 32) - max(centre - 8, 0) for centre in range(32)) / 32
    assert abs(area - (side / 32) ** 2) < 0.005


def test_cutout_fills_with_zero_after_normalisation():
    known = Facts("test", ("a", "b"), 1, 8, (0.5,), (0.5,), flip=False)
    result = Augment(**PLAIN, cutout=0.5)(torch.zeros(9, 1, 8, 8, dtype=torch.uint8), known)
    assert set(result.unique().tolist()) == {-1.0, 0.0}


def test_a_resized_crop_of_everything_is_the_image_itself():
    ratio_one = torch.full((5,), 0.5)
    height, width = crop_sides(torch.zeros(5), ratio_one, (1.0, 1.0))
    torch.testing.assert_close(height, torch.ones(5))
    torch.testing.assert_close(width, torch.ones(5))


def test_crop_sides_have_the_drawn_areas_and_ratios():
    height, width = crop_sides(torch.rand(1000), torch.rand(1000), (0.08, 1.0))
    area, ratio = height * width, width / height
    assert 0.0799 < area.min() < area.max() < 1.0001
    assert 0.7499 < ratio.min() < 0.76
    assert 1.32 < ratio.max() < 1.3334


def test_a_resized_crop_stays_in_range_and_shows_a_part_of_a_ramp():
    ramp = torch.arange(0, 256, 8, dtype=torch.uint8).expand(200, 1, 32, 32)
    crops = Augment(flip=False, resized_crop=(0.08, 0.5))(ramp, facts(channels=1)) * 255
    assert crops.min() >= 0 and crops.max() <= 248
    steps = crops.diff(dim=3)[:, 0, :, 1:-1]  # the slope of the ramp times the crop's width
    torch.testing.assert_close(steps, steps[:, :1, :1].expand_as(steps), atol=1e-2, rtol=0)
    widths = steps[:, 0, 0] / 8
    assert (0.08 * 3 / 4) ** 0.5 - 1e-3 < widths.min() < widths.max() < (0.5 * 4 / 3) ** 0.5 + 1e-3
    assert crops.amax((1, 2, 3)).max() > 240 and crops.amin((1, 2, 3)).min() < 8


def test_colours_change_image_by_image_and_are_normalised_and_clipped_once():
    images = pictures(count=6, size=5)  # 25 pixels are no multiple of four
    known = Facts("test", ("a", "b"), 3, 5, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), flip=False)
    augment = Augment(**PLAIN, jitter=0.8)
    torch.manual_seed(1)
    result = augment(images, known)
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.manual_seed(1)
    draws = torch.rand(6, 11)[:, 7:].T
    pixels = images.float()
    matrix, offset = jitter(pixels.mean((2, 3)), 0.8, *draws)
    for mine, image, each, constant in zip(result, pixels, matrix, offset, strict=True):
        changed = (torch.tensordot(each, image, 1) + constant).clamp(0, 255) / 255
        mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (known.mean, known.std))
        torch.testing.assert_close(mine, (changed - mean) / std, atol=1e-4, rtol=0)
        assert changed.max() == 1 or changed.min() == 0  # something was clipped


def test_grey_images_change_in_brightness_and_contrast_only():
    result = Augment(**PLAIN, jitter=0.4)(pictures(channels=1), facts(channels=1))
    assert result.shape == (16, 1, 32, 32)
    assert result.min() >= 0 and result.max() <= 1


def test_the_same_generator_state_gives_the_same_bytes():
    augment = Augment(cutout=0.5, jitter=0.4, resized_crop=(0.2, 1.0))
    state = torch.get_rng_state()
    first = augment(pictures(), facts())
    second = augment(pictures(), facts())
    torch.set_rng_state(state)
    assert torch.equal(first, augment(pictures(), facts()))
    assert not torch.equal(first, second)


def test_the_input_is_left_as_it_was():
    images = pictures()
    before = images.clone()
    Augment(cutout=0.5, jitter=0.4)(images, facts())
    Augment(cutout=0.5, resized_crop=(0.5, 1.0))(images, facts())
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("padding", -0.1),
        ("cutout", 16),
        ("jitter", 1.5),
        ("resized_crop", [1.0, 0.08]),
        ("resized_crop", [0.0, 1.0]),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name_and_value(key, value):
    with pytest.raises(ValueError, match=rf"augment.{key}=.*: use"):
        Augment(**{key: value})


def test_a_list_from_yaml_is_a_range_of_areas():
    assert Augment(resized_crop=[0.08, 1.0]).resized_crop == (0.08, 1.0)
