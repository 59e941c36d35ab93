"""Colour matrices against torchvision's one image at a time, and against HSV."""

import pytest
import torch
from torchvision.transforms import functional

from nasrun.data.colour import jitter, saturated, turned

HALF = torch.full((1,), 0.5)


def changed(images, strength, *draws):
    """Images (B, 3, H, W), pixels 0 to 255, mapped by their matrices without clipping."""
    matrix, offset = jitter(images.mean((2, 3)), strength, *draws)
    pixels = matrix @ images.flatten(2) + offset.unsqueeze(1)
    return pixels.view(images.shape)


def test_brightness_contrast_and_saturation_are_torchvisions_where_nothing_is_clipped():
    generator = torch.Generator().manual_seed(0)
    images = 90 + 70 * torch.rand(12, 3, 8, 8, generator=generator)
    draws = torch.rand(3, 12, generator=generator)
    result = changed(images, 0.3, *draws, torch.full((12,), 0.5))
    for mine, image, draw in zip(result, images, draws.T.tolist(), strict=True):
        brightness, contrast, saturation = (0.7 + 0.6 * value for value in draw)
        expected = functional.adjust_brightness(image / 255, brightness)
        expected = functional.adjust_contrast(expected, contrast)
        expected = functional.adjust_saturation(expected, saturation)
        assert 0 < expected.min() < expected.max() < 1  # else torchvision clips
        torch.testing.assert_close(mine / 255, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("turn", [1 / 3, -1 / 3])
def test_a_third_of_the_circle_is_hsvs_turn_of_the_hue(turn):
    image = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0))
    expected = functional.adjust_hue(functional.adjust_hue(image, turn / 2), turn / 2)
    mine = torch.tensordot(turned(torch.tensor([turn]))[0], image, 1)
    torch.testing.assert_close(mine, expected, atol=2e-3, rtol=0)


def test_a_turn_keeps_greys_and_means_and_turns_add_up():
    turns = torch.tensor([0.0, 0.05, 0.2, -0.13])
    matrices = turned(turns)
    torch.testing.assert_close(matrices.sum(2), torch.ones(4, 3))
    torch.testing.assert_close(matrices.sum(1), torch.ones(4, 3))
    torch.testing.assert_close(matrices[0], torch.eye(3))
    torch.testing.assert_close(matrices[1] @ matrices[2], turned(torch.tensor([0.25]))[0])


def test_small_turns_are_nearer_to_hsvs_than_no_turn():
    generator = torch.Generator().manual_seed(0)
    image = 0.3 + 0.4 * torch.rand(3, 40, 40, generator=generator)
    for turn in (-0.2, -0.1, 0.1, 0.2):
        expected = functional.adjust_hue(image, turn)
        mine = torch.tensordot(turned(torch.tensor([turn]))[0], image, 1)
        assert (mine - expected).abs().mean() < 0.8 * (image - expected).abs().mean()


def test_no_saturation_leaves_the_luma_and_saturation_one_changes_nothing():
    none, same = saturated(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(none, torch.tensor([[0.299, 0.587, 0.114]]).expand(3, 3))
    torch.testing.assert_close(same, torch.eye(3))


def test_images_of_one_channel_change_in_brightness_and_contrast_only():
    matrix, offset = jitter(torch.tensor([[100.0]]), 0.4, HALF * 2, HALF * 2, HALF * 0, HALF * 0)
    torch.testing.assert_close(matrix, torch.tensor([[[1.4 * 1.4]]]))
    torch.testing.assert_close(offset, torch.tensor([[1.4 * (1 - 1.4) * 100]]))
