"""The GAN space: published sizes, shapes for any genotype, and branches as drawn."""

import math

import pytest
import torch
import torch.nn.functional as F

from nasrun.genotype import Genotype
from nasrun.spaces.drqv2 import DrqSpace, Pixels, Vector
from nasrun.spaces.gan import OPERATIONS, GanSpace
from nasrun.spaces.gan_discriminator import DiscriminatorBlock

FULL = {
    "num_cells": 3,
    "bottom": 4,
    "channels": 4,
    "latent": 12,
    "projections": 3,
    "operations": OPERATIONS,
    "blocks": 4,
    "halvings": 2,
    "discriminator_channels": 4,
    "released_sum": False,
}
BLOCK = {
    **dict.fromkeys(("c0", "c1", "c2", "c3", "c4", "c5", "c6"), "skip_connect"),
    "downsample": "keep",
    "down0": "avg_pool",
    "down1": "max_pool",
}


def made(*, released_sum=False, **chosen):
    """Return a block of two channels with some choices of its own."""
    every = {**BLOCK, **chosen}
    return DiscriminatorBlock(2, 2, every, first=False, released_sum=released_sum)


def sizes(space):
    return math.log10(math.prod(len(decision.choices) for decision in space.decisions))


def test_the_spaces_are_as_large_as_published():
    easy, hard = GanSpace(**FULL, hard=False), GanSpace(**FULL, hard=True)
    assert len(easy.decisions) == 21
    assert 10 ** sizes(easy) == pytest.approx(3.46e15, rel=0.01)
    assert len(hard.decisions) == 72
    assert sizes(hard) == pytest.approx(52.5, abs=0.1)
    agent = DrqSpace(
        encoder=Pixels(channels=32, size=84), hidden=8, feature_dims=(25, 50, 100, 150)
    )
    assert len(agent.decisions) == 36
    assert 10 ** sizes(agent) == pytest.approx(4.6e21, rel=0.02)
    assert agent.encoder.width == 32 * 41 * 41
    states = DrqSpace(encoder=Vector(hidden=8), hidden=8, feature_dims=(4, 8))
    assert len(states.decisions) == 36


@pytest.mark.parametrize("hard", [False, True], ids=["easy", "hard"])
def test_any_genotype_makes_and_judges_images(hard):
    space = GanSpace(**{**FULL, "num_cells": 2, "projections": 2, "bottom": 2}, hard=hard)
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        chosen = {
            d.name: d.choices[int(torch.randint(len(d.choices), (), generator=generator))]
            for d in space.decisions
        }
        network = space.network(Genotype("gan", chosen), inputs=1, outputs=1)
        images = network(torch.randn(2, 12))
        assert images.shape == (2, 1, 8, 8)
        assert float(images.detach().abs().max()) <= 1
        assert network.discriminator(images).shape == (2, 1)


def test_without_any_operation_nodes_take_the_place_of_others():
    space = GanSpace(**FULL, hard=True)
    nothing = {d.name: "none" if "none" in d.choices else d.choices[0] for d in space.decisions}
    network = space.network(Genotype("gan", nothing), inputs=3, outputs=3)
    images = network(torch.randn(2, 12))
    assert images.shape == (2, 3, 32, 32)
    assert network.discriminator(images).shape == (2, 1)


def test_a_block_adds_both_branches_unless_it_is_to_be_as_released():
    x = torch.randn(1, 2, 4, 4)
    for released, factor in ((False, 4), (True, 2)):
        block = made(released_sum=released)
        torch.testing.assert_close(block(x), factor * x)


def test_as_released_a_branch_is_there_by_its_own_first_operation():
    x = torch.randn(1, 2, 4, 4)

    def block(**chosen):
        return made(released_sum=True, **chosen)(x)

    torch.testing.assert_close(block(c1="none", c4="none"), x)  # the right one: the left has c3
    torch.testing.assert_close(block(c1="none", c2="none", downsample="halve"), x)


@pytest.mark.parametrize("released", [False, True], ids=["both_branches", "released"])
def test_without_a_further_operation_a_branch_stays_as_it_is(released):
    x = torch.randn(1, 2, 4, 4)
    block = made(released_sum=released, c5="none", c6="none")
    torch.testing.assert_close(block(x), 2 * x if released else 4 * x)


@pytest.mark.parametrize("released", [False, True], ids=["both_branches", "released"])
def test_a_pool_at_the_input_halves_what_crosses_over_behind_its_operation(released):
    x = torch.randn(1, 2, 8, 8)
    halved = {"downsample": "halve", "down0": "max_pool_input", "c2": "none", "c4": "none"}
    block = made(released_sum=released, **halved, c3="conv_3x3")
    crossing = F.max_pool2d(block["c3"].conv(F.relu(x)), 2)
    torch.testing.assert_close(block(x), F.max_pool2d(x, 2) + crossing)


def test_a_branch_without_a_further_operation_is_drawn_whole():
    space = GanSpace(**FULL, hard=True)
    chosen = {decision.name: decision.choices[-1] for decision in space.decisions}
    chosen |= {f"discriminator/block2/{key}": "none" for key in ("c0", "c5")}
    drawn = space.cells(Genotype("gan", chosen))["discriminator/block2"]
    assert ("n1", "left", "skip_connect") in drawn
    assert not any(target == "n0" for _, target, _ in drawn)


def test_a_branch_that_nothing_enters_is_not_drawn():
    space = GanSpace(**FULL, hard=True)
    chosen = {decision.name: decision.choices[-1] for decision in space.decisions}
    chosen |= {f"discriminator/block2/{key}": "none" for key in ("c1", "c3", "c5", "c6")}
    drawn = space.cells(Genotype("gan", chosen))["discriminator/block2"]
    assert ("n1", "left", "skip_connect") not in drawn
    assert ("n2", "right", "skip_connect") in drawn


@pytest.mark.parametrize("down", ["avg_pool", "avg_pool_input", "conv_3x3", "dil_conv_5x5"])
def test_a_block_halves_the_map_wherever_its_pool_stands(down):
    block = made(downsample="halve", down0=down)
    assert block(torch.randn(1, 2, 8, 8)).shape == (1, 2, 4, 4)
    assert block(torch.randn(1, 2, 1, 1)).shape == (1, 2, 1, 1)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"num_cells": 4}, "num_cells=4: use 1 to 3"),
        ({"latent": 13}, "latent=13: use a multiple of projections="),
        ({"latent": 0}, "latent=0: .* above 0"),
        ({"latent": -12}, "latent=-12: .* above 0"),
        ({"released_sum": True}, "released_sum=true: has no effect without hard=true"),
        ({"bottom": 3}, "bottom=3: use an even number"),
        ({"operations": ("none",)}, "a convolution among them"),
        ({"halvings": 5}, "halvings=5: use 0 to blocks=4"),
        ({"blocks": -1}, "blocks=-1: use at least 1"),
        ({"choices": {"generator/cell9/c0": ("none",)}}, "is not a decision"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        GanSpace(**{**FULL, **changes}, hard=False)


@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("down", ["avg_pool", "max_pool", "conv_3x3"])
def test_branches_of_a_map_of_odd_side_are_halved_to_one_size(side, down):
    chosen = {"down0": down, "down1": "conv_3x3", "c1": "conv_3x3", "c2": "conv_3x3"}
    block = made(downsample="halve", **chosen)
    assert block(torch.rand(1, 2, side, side)).shape[2:] == ((side + 1) // 2,) * 2
