"""The GAN spaces' networks against PBT-NAS's released forward passes, written again as functions.

The facts are those of github.com/AwesomeLemon/PBT-NAS, models/gan; nothing here is their code.
"""

import pytest
import torch
import torch.nn.functional as F

from nasrun.genotype import Genotype
from nasrun.spaces.gan import OPERATIONS, GanSpace

SETTINGS = {
    "num_cells": 3,
    "bottom": 2,
    "channels": 3,
    "latent": 12,
    "projections": 3,
    "operations": OPERATIONS,
    "blocks": 4,
    "halvings": 2,
    "discriminator_channels": 3,
}
GENOMES = 30


def made(space, count=GENOMES):
    """Random genotypes with networks in double precision, as they answer once trained."""
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        chosen = {
            d.name: d.choices[int(torch.randint(len(d.choices), (), generator=generator))]
            for d in space.decisions
        }
        with torch.random.fork_rng():
            torch.manual_seed(number)
            network = space.network(Genotype("gan", chosen), inputs=3, outputs=3).double().eval()
            network.generator["head"][0].running_mean.normal_()
            network.generator["head"][0].running_var.uniform_(0.5, 2)
        yield chosen, network


def tensors(module):
    """Every layer's weight (as it is used, so normalised) and bias by the layer's name."""
    return {
        name: (layer.weight.detach(), None if layer.bias is None else layer.bias.detach())
        for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear)
    }


def group(chosen, name):
    return {key.split("/")[-1]: word for key, word in chosen.items() if key.startswith(name + "/")}


def convolve(layer, name, x, stride=1, active=True):
    """One of the five convolutions, or a skip."""
    if name == "skip_connect":
        return x
    size, reach = int(name[-1]), 2 if name.startswith("dil") else 1
    weight, bias = layer
    x = F.relu(x) if active else x
    return F.conv2d(x, weight, bias, stride, padding=reach * (size - 1) // 2, dilation=reach)


def halved(layer, name, x):
    if name.startswith("avg_pool"):
        return F.avg_pool2d(x, kernel_size=2)
    if name.startswith("max_pool"):
        return F.max_pool2d(x, kernel_size=2)
    return convolve(layer, name, x, stride=2)


def judged(layers, chosen, blocks, x, *, released):
    for number in range(1, blocks + 1):
        names = group(chosen, f"discriminator/block{number}")
        own = {key: layers.get(f"block{number}.{key}.conv") for key in names}
        own |= {
            key: layers.get(f"block{number}.{key}.operation.conv") for key in ("down0", "down1")
        }
        x = block(own, names, x, first=number == 1, released=released)
    return F.relu(x).sum(dim=(-1, -2)) @ layers["linear"][0].T


def block(layers, names, x, *, first, released):
    """n1 = c1(x) + c3(n0), then c5; n2 = c2(x) + c4(n0), then c6; each halved by a pool of its own.

    A pool "at the input" halves both terms of the sum. Where there is no c5 or c6 the value stays.
    As released n1 is the output, else n2; otherwise their sum is.
    """

    def through(key, value, active=True):
        if value is None or names[key] == "none":
            return None
        return convolve(layers[key], names[key], value, active=active)

    start = [through(key, x, active=not first) for key in ("c0", "c1", "c2")]
    halves = names["downsample"] == "halve"
    ends = []
    for n, across, along, down in (
        (start[1], "c3", "c5", "down0"),
        (start[2], "c4", "c6", "down1"),
    ):
        crossing = through(across, start[0])
        early = halves and names[down].endswith("_input")
        terms = [n, crossing] if n is not None or not released else []
        terms = [term for term in terms if term is not None]
        if not terms:
            continue
        if early:
            terms = [halved(layers[down], names[down], term) for term in terms]
        value = sum(terms)
        if names[along] != "none":
            value = through(along, value)
        if halves and not early:
            value = halved(layers[down], names[down], value)
        ends.append(value)
    if ends:
        return ends[0] if released else sum(ends)
    left_over = x if start[0] is None else start[0]
    return F.avg_pool2d(left_over, 2) if halves and not released else left_over


def autogan_judged(layers, blocks, halvings, x):
    """Two 3x3 convolutions beside a shortcut that has a 1x1 one where it halves or sees pixels."""
    for number in range(blocks):
        first, halves = number == 0, number < halvings
        conv = {key: layers.get(f"blocks.{number}.{key}") for key in ("conv0", "conv1", "shortcut")}
        h = F.conv2d(x if first else F.relu(x), *conv["conv0"], padding=1)
        h = F.conv2d(F.relu(h), *conv["conv1"], padding=1)
        h = F.avg_pool2d(h, 2) if halves else h
        if first:  # as released pooled before its shortcut's convolution, later blocks behind it
            x = F.conv2d(F.avg_pool2d(x, 2) if halves else x, *conv["shortcut"])
        elif halves:
            x = F.avg_pool2d(F.conv2d(x, *conv["shortcut"]), 2)
        x = x + h
    return F.relu(x).sum(dim=(-1, -2)) @ layers["linear"][0].T


def generated(network, layers, chosen, z, space, *, in_place):
    """Three cells; `in_place` as released: what a cell hands on has what it was handed in it."""
    maps, x = [], None
    for number in range(1, 4):
        added = projected(layers, chosen, z, number, space)
        if x is None:
            x = added
        elif added is not None:
            x = x + added
        names = group(chosen, f"generator/cell{number}")
        own = {
            key.removeprefix(f"cell{number}."): layer
            for key, layer in layers.items()
            if key.startswith(f"cell{number}.")
        }
        up = [doubled(own, key, names[key], x) for key in ("up0", "up1")]

        def into(*pairs, own=own, names=names):
            kept = [(key, value) for key, value in pairs if names[key] != "none"]
            made = [convolve(own.get(f"{key}.conv"), names[key], value) for key, value in kept]
            return sum(made) if made else None

        n2 = into(("c0", up[0]), ("c1", up[1]))
        n2 = up[0] + up[1] if n2 is None else n2
        given = n2
        for place, earlier in enumerate(maps):
            mode = {2: "bilinear", 3: "nearest"}[number]
            resized = F.interpolate(earlier, size=n2.shape[-2:], mode=mode)
            n2 = n2 + F.conv2d(resized, *own[f"skips.{place}"])
        maps.append(n2 if in_place else given)
        n3 = into(("c2", up[0]), ("c3", up[1]), ("c4", n2))
        x = n2 if n3 is None else n3
    norm = network.generator["head"][0]
    x = (x - norm.running_mean.view(-1, 1, 1)) / (norm.running_var + norm.eps).sqrt().view(-1, 1, 1)
    x = x * norm.weight.detach().view(-1, 1, 1) + norm.bias.detach().view(-1, 1, 1)
    return F.conv2d(F.relu(x), *layers["head.2"], padding=1).tanh()


def projected(layers, chosen, z, number, space):
    """A linear map of all of z or of the cell's own third, resized to the cell's input."""
    target = space.bottom * 2 ** (number - 1)
    if number > space.projections:
        return None
    names = group(chosen, f"generator/projection{number}")
    names = {"linear": "own_full", "resize": "nearest", "enabled": "on", **names}
    if names["enabled"] == "off":
        return None
    part, width = names["linear"].split("_")
    share = space.latent // space.projections
    seen = z if part == "whole" else z[:, share * (number - 1) : share * number]
    side = {"bottom": space.bottom, "half": target // 2, "full": target}[width]
    x = F.linear(seen, *layers[f"projection{number}.linear"]).view(len(z), -1, side, side)
    return (
        x if side == target else F.interpolate(x, scale_factor=target / side, mode=names["resize"])
    )


def doubled(own, key, name, x):
    if name == "conv_transpose":
        depthwise = own[f"{key}.depthwise"][0]
        x = F.conv_transpose2d(
            F.relu(x), depthwise, stride=2, padding=1, output_padding=1, groups=len(depthwise)
        )
        return F.conv2d(x, own[f"{key}.pointwise"][0])
    return F.conv2d(F.relu(F.interpolate(x, scale_factor=2, mode=name)), *own[f"{key}.pointwise"])


@pytest.mark.parametrize("released", [True, False], ids=["released", "both_branches"])
def test_a_searched_discriminator_judges_as_released_up_to_what_is_told(released):
    space = GanSpace(**SETTINGS, hard=True, released_sum=released)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    wrong = []
    for number, (chosen, network) in enumerate(made(space)):
        layers = tensors(network.discriminator)
        expected = judged(layers, chosen, space.blocks, images, released=released)
        if not torch.allclose(network.discriminator(images), expected, rtol=1e-9, atol=1e-12):
            wrong.append(number)
    assert wrong == []


def test_the_fixed_discriminator_judges_as_released():
    space = GanSpace(**SETTINGS, hard=False, released_sum=False)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    ((_, network),) = made(space, 1)
    expected = autogan_judged(tensors(network.discriminator), 4, 2, images)
    torch.testing.assert_close(network.discriminator(images), expected)


@pytest.mark.parametrize("hard", [False, True], ids=["easy", "hard"])
def test_a_generator_makes_what_the_released_one_makes_but_for_changes_in_place(hard):
    space = GanSpace(**SETTINGS, hard=hard, released_sum=False)
    z = torch.randn(2, space.latent, dtype=torch.float64)
    apart = 0
    for chosen, network in made(space):
        layers = tensors(network.generator)
        ours, released = (
            generated(network, layers, chosen, z, space, in_place=x) for x in (False, True)
        )
        torch.testing.assert_close(network(z), ours)
        apart += not torch.allclose(ours, released)
    assert apart > GENOMES // 2  # told in docs/strategies/pbtnas.md


def test_two_projections_share_the_latent_vector_as_released_for_stl():
    space = GanSpace(**{**SETTINGS, "projections": 2}, hard=False, released_sum=False)
    z = torch.randn(2, space.latent, dtype=torch.float64)
    ((chosen, network),) = made(space, 1)
    layers = tensors(network.generator)
    expected = generated(network, layers, chosen, z, space, in_place=False)
    torch.testing.assert_close(network(z), expected)
