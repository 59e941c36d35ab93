"""Policies: one seed, one change, in whatever process and whatever was drawn before."""

import pytest
import torch
from torchvision.transforms import v2

from nasrun.data.augment import Augment
from nasrun.data.facts import Facts
from nasrun.data.policies import RandAugment

POLICY = RandAugment(changes=2, magnitude=9)


def pictures(count, channels=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, 16, 16), generator=generator, dtype=torch.uint8)


def test_it_is_torchvisions_transform_and_the_seed_decides():
    image = pictures(1)[0]
    results = []
    for before in (1, 2):
        torch.manual_seed(before)
        state = torch.get_rng_state()
        results.append([POLICY(image, seed) for seed in range(20)])
        assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert len({result.numpy().tobytes() for result in results[0]}) > 10
    torch.manual_seed(3)
    assert torch.equal(POLICY(image, 3), v2.RandAugment(2, 9)(image))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("crop", [None, (0.3, 1.0)])
def test_every_image_of_a_batch_has_changes_of_its_own(channels, crop):
    facts = Facts("test", ("a", "b"), channels, 16, (0.0,) * channels, (1.0,) * channels, True)
    same = pictures(1, channels).expand(30, -1, -1, -1)
    augment = Augment(padding=0.0, flip=False, resized_crop=crop, policy=POLICY)
    torch.manual_seed(0)
    result = augment(same, facts)
    assert result.shape == same.shape and result.min() >= 0 and result.max() <= 1
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert len({image.numpy().tobytes() for image in result}) > 15
    torch.manual_seed(0)
    assert torch.equal(augment(same, facts), result)


@pytest.mark.parametrize(("key", "value"), [("changes", 0), ("magnitude", 31), ("magnitude", -1)])
def test_a_setting_out_of_range_is_refused_by_name_and_value(key, value):
    with pytest.raises(ValueError, match=rf"policy.{key}={value}: use"):
        RandAugment(**{"changes": 2, "magnitude": 9, key: value})
