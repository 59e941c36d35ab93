"""Mixed batches: images and labels have the same shares of the same two images."""

import pytest
import torch

from nasrun.budget import Budget
from nasrun.data.augment import Augment
from nasrun.data.images import Digits
from nasrun.tasks.blend import Blend
from nasrun.tasks.classification import Classification

LABELS = torch.tensor([0, 1, 2, 3])


def images():
    return torch.randn(4, 3, 12, 12).contiguous(memory_format=torch.channels_last)


def shares_of(soft):
    """The share of each image's own label; the rest belongs to the image before it."""
    own = soft[torch.arange(4), LABELS]
    assert torch.allclose(soft.sum(1), torch.ones(4))
    torch.testing.assert_close(soft[torch.arange(4), LABELS.roll(1)], 1 - own)
    return own


def test_mixup_weighs_images_as_their_labels():
    for seed in range(5):
        torch.manual_seed(seed)
        before = images()
        mixed, soft = Blend(mixup=0.7, cutmix=0.0)(before, LABELS, 5)
        own = shares_of(soft).view(-1, 1, 1, 1)
        torch.testing.assert_close(mixed, own * before + (1 - own) * before.roll(1, 0))
        assert mixed.is_contiguous(memory_format=torch.channels_last) and soft.shape == (4, 5)


def test_cutmix_weighs_labels_by_the_area_of_a_rectangle():
    for seed in range(5):
        torch.manual_seed(seed)
        before = images()
        mixed, soft = Blend(mixup=0.0, cutmix=1.0)(before, LABELS, 5)
        pasted = (mixed == before.roll(1, 0)).all(1)
        assert torch.equal(pasted | (mixed == before).all(1), torch.ones_like(pasted))
        torch.testing.assert_close(pasted.float().mean((1, 2)), 1 - shares_of(soft))
        rows, columns = pasted[0].any(1).sum(), pasted[0].any(0).sum()
        assert pasted[0].sum() == rows * columns


def test_both_come_equally_often():
    torch.manual_seed(0)
    blend, before, cut = Blend(mixup=1.0, cutmix=1.0), images(), 0
    for _ in range(200):
        mixed, _ = blend(before, LABELS, 4)
        cut += bool(((mixed == before) | (mixed == before.roll(1, 0))).all())
    assert 75 < cut < 125


def test_the_generator_decides_and_the_global_one_goes_on():
    before, state = images(), torch.get_rng_state()
    results = []
    for seed in (0, 0, 1):
        mixed, _ = Blend(mixup=1.0, cutmix=1.0)(
            before, LABELS, 4, torch.Generator().manual_seed(seed)
        )
        results.append(mixed)
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_training_batches_are_mixed_and_nothing_else():
    made = Classification(
        augment=Augment(padding=0.0, flip=False),
        label_smoothing=0.1,
        auxiliary_weight=0.0,
        share=1.0,
        blend=Blend(mixup=1.0, cutmix=0.0),
    )
    made.begin(Digits(images=60), Budget(device="cpu", precision="fp32", threads=1, max_hours=None))
    split = made.split("train")
    batches = list(made.batches(split, 10, torch.arange(20)))
    assert [batch.labels.shape for batch in batches] == [(10, 10), (10, 10)]
    logits = torch.randn(10, 10)
    wanted = 0.9 * batches[0].labels + 0.1 / 10
    loss = -(wanted * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(made.loss(lambda x: (logits,), batches[0]), loss)
    for augmented in (None, torch.Generator()):
        measured = made.evaluate(
            lambda x: (torch.zeros(len(x), 10),), split, 10, augmented=augmented
        )
        assert measured["loss"] == pytest.approx(2.302585, abs=1e-5)


@pytest.mark.parametrize(
    ("mixup", "cutmix", "told"),
    [(-1.0, 1.0, "blend.mixup=-1.0"), (0.2, -1.0, "blend.cutmix=-1.0"), (0, 0, "use blend=null")],
)
def test_alphas_out_of_range_are_refused(mixup, cutmix, told):
    with pytest.raises(ValueError, match=told):
        Blend(mixup=mixup, cutmix=cutmix)
