"""Training-free formulas, each against numbers that are computed in another way."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracle import PlainDarts, PlainNasBench201
from torch import nn

from nasrun.costs.cost import params
from nasrun.evaluators import az_nas
from nasrun.evaluators.az_nas import AzNas, initialise
from nasrun.evaluators.codes import Codes, agreements
from nasrun.evaluators.counts import Depth, Macs, Params
from nasrun.evaluators.grad_norm import GradNorm
from nasrun.evaluators.jacob_cov import JacobCov
from nasrun.evaluators.naswot import Naswot
from nasrun.evaluators.snip import Snip
from nasrun.evaluators.swap import Swap, words
from nasrun.evaluators.synflow import Synflow
from nasrun.evaluators.untrained import separate
from nasrun.evaluators.zico import Zico
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.nasbench201 import NasBench201

NB201 = NasBench201(
    operations=("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"),
    channels=4,
    layers=3,
)
DARTS = DartsSpace(
    operations=("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"),
    nodes=2,
    kept_edges=2,
    channels=4,
    layers=3,
)


class Tiny(nn.Module):
    """Two linear layers with ReLUs of every kind behind the first, as convolutions or not."""

    def __init__(self, *, inputs=3, hidden=5, outputs=4, relu=F.relu):
        super().__init__()
        self.first = nn.Conv2d(inputs, hidden, 1, bias=False)
        self.norm = nn.BatchNorm2d(hidden)
        self.relu = relu
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x):
        return (self.last(self.relu(self.norm(self.first(x))).flatten(1)),)


class Softmax(nn.Module):
    """A linear layer alone."""

    def __init__(self, inputs=6, outputs=3):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, x):
        return (self.layer(x.flatten(1)),)

    def gradient(self, images, labels):
        """Return the cross entropy's gradient by the weights: the mean of (p - y) x^T."""
        x, y = images.flatten(1).numpy(), np.eye(3)[labels.numpy()]
        scores = x @ self.layer.weight.detach().numpy().T + self.layer.bias.detach().numpy()
        p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        return (p - y).T @ x / len(x)


def batch_of(count, channels, side=1, classes=3):
    return torch.randn(count, channels, side, side), torch.randint(classes, (count,))


def kernel(codes):
    """Return N_A - hamming, pair by pair."""
    return np.array(
        [[sum(a == b for a, b in zip(p, q, strict=True)) for q in codes] for p in codes]
    )


def codes_of(network, images):
    found = [torch.empty(len(images), 0, dtype=torch.bool)]
    with torch.no_grad(), Codes(found.append):
        network(images)
    return torch.cat(found, 1)


@pytest.mark.parametrize(("space", "plain"), [(NB201, PlainNasBench201), (DARTS, PlainDarts)])
def test_the_codes_are_those_of_a_plain_network_each_of_whose_operations_has_a_relu(
    space, plain, monkeypatch
):
    torch.manual_seed(0)
    images = torch.randn(6, 3, 4, 4, dtype=torch.float64)
    relu, met = F.relu, []
    for seed in range(5):
        genotype = space.sample(torch.Generator().manual_seed(seed))
        network = space.network(genotype, inputs=3, outputs=5).double().train()
        with monkeypatch.context() as patch:
            patch.setattr(F, "relu", lambda x: met.append(x.flatten(1) > 0) or relu(x))
            plain(network, space, pool_norm=space is DARTS)(images, genotype)
        expected = torch.cat(met, 1)
        met.clear()
        found = codes_of(separate(network), images)
        assert found.shape == expected.shape
        columns = [sorted(map(tuple, codes.T.tolist())) for codes in (found, expected)]
        assert columns[0] == columns[1]  # the same units, in whatever order


def test_relus_are_met_as_modules_as_functions_in_place_and_with_a_bound():
    torch.manual_seed(0)
    kinds = [F.relu, torch.relu, nn.ReLU(), nn.ReLU(inplace=True), torch.relu_, F.relu6]
    kinds += [nn.ReLU6(inplace=True), torch.Tensor.relu_]
    for kind in kinds:
        network, images = Tiny(relu=kind), torch.randn(7, 3, 1, 1)
        expected = network.norm(network.first(images)).flatten(1) > 0
        assert torch.equal(codes_of(network, images), expected), kind
    network = Tiny(relu=lambda x: F.hardtanh(torch.tanh(x)))
    assert codes_of(network, images).numel() == 0  # bounded on both sides, it is none


def test_naswot_is_the_log_determinant_of_agreeing_units():
    torch.manual_seed(1)
    network, (images, labels) = Tiny(hidden=40), batch_of(6, 3)
    codes = (network.norm(network.first(images)).flatten(1) > 0).tolist()
    sign, expected = np.linalg.slogdet(kernel(codes))
    assert sign == 1
    assert Naswot()(network, (images, labels)) == (pytest.approx(expected, rel=1e-9),)


@pytest.mark.parametrize("units", [1, 7, 8, 63, 64, 65, 130])
def test_agreeing_units_are_those_of_a_plain_loop(units):
    on = torch.rand(5, units, generator=torch.Generator().manual_seed(units)) > 0.3
    assert agreements(on).tolist() == kernel(on.tolist()).tolist()


def test_codes_of_either_memory_format_have_the_same_units():
    torch.manual_seed(0)
    images = torch.randn(3, 4, 5, 6)
    first, last = (
        codes_of(nn.ReLU(), images.to(memory_format=layout)).T.tolist()
        for layout in (torch.contiguous_format, torch.channels_last)
    )
    assert first != last and sorted(first) == sorted(last)


def test_two_images_with_one_code_have_no_determinant():
    torch.manual_seed(1)
    images, labels = batch_of(6, 3)
    images[4] = images[2]
    assert Naswot()(Tiny(hidden=40), (images, labels)) == (-math.inf,)


def test_jacob_cov_is_the_formula_of_the_correlations_eigenvalues():
    torch.manual_seed(2)
    network, (images, labels) = Tiny(inputs=9).eval(), batch_of(5, 9)
    first, last = network.first.weight.flatten(1).detach(), network.last.weight.detach()
    scale = 1 / math.sqrt(1 + network.norm.eps)
    on = ((images.flatten(1) @ first.T) > 0).float()
    jacobians = (scale * on * last.sum(0)) @ first  # of the sum of the logits
    values = np.linalg.eigvals(np.corrcoef(jacobians.numpy().astype(float))).real
    expected = -np.sum(np.log(values + 1e-5) + 1 / (values + 1e-5))
    assert JacobCov()(network, (images, labels)) == (pytest.approx(expected, rel=1e-3),)


def test_a_network_whose_logits_depend_on_no_pixel_has_no_jacobian():
    network = Tiny()
    nn.init.zeros_(network.last.weight)
    assert math.isnan(*JacobCov()(network, batch_of(4, 3)))


def test_grad_norm_and_snip_are_sums_over_the_cross_entropys_gradient():
    torch.manual_seed(3)
    network, batch = Softmax(), batch_of(8, 6)
    gradient, weight = network.gradient(*batch), network.layer.weight.detach().numpy()
    assert GradNorm()(network, batch) == (pytest.approx(np.sqrt((gradient**2).sum()), rel=1e-5),)
    assert Snip()(network, batch) == (pytest.approx(np.abs(gradient * weight).sum(), rel=1e-5),)


def test_synflow_counts_every_path_once_per_layer():
    torch.manual_seed(4)
    network = Tiny(hidden=3, relu=nn.ReLU6())
    network.first.weight.data *= 1000  # a bound would cut this off
    paths = 0.0
    first = network.first.weight.detach().double().flatten(1).tolist()
    last = network.last.weight.detach().double().tolist()
    for inner, outer, pixel in itertools.product(range(3), range(4), range(3)):
        paths += abs(first[inner][pixel] * last[outer][inner])
    assert Synflow()(network, batch_of(2, 3)) == (pytest.approx(2 * paths, rel=1e-12),)


def test_zico_is_the_formula_over_the_halves_of_a_batch():
    torch.manual_seed(5)
    network, (images, labels) = Softmax(), batch_of(8, 6)
    images[:, 0] = 0  # weights without a gradient are left out
    halves = [network.gradient(images[n : n + 4], labels[n : n + 4]) for n in (0, 4)]
    mean, deviation = np.mean(np.abs(halves), 0), np.std(halves, 0)
    expected = math.log((mean[:, 1:] / deviation[:, 1:]).sum())
    assert Zico(batches=2)(network, (images, labels)) == (pytest.approx(expected, rel=1e-4),)
    assert Zico(batches=5).least == 10
    with pytest.raises(ValueError, match="batches=1"):
        Zico(batches=1)


def test_swap_counts_different_columns():
    torch.manual_seed(6)
    network, (images, labels) = Tiny(hidden=60), batch_of(5, 3)
    (found,) = Swap()(network, (images, labels))  # it draws the weights that stand there now
    columns = (network.norm(network.first(images)).flatten(1) > 0).T.tolist()
    assert found == len(set(map(tuple, columns))) < 60


def test_patterns_longer_than_a_word_are_told_apart():
    on = torch.zeros(130, 3, dtype=torch.bool)
    on[129, 1] = on[61, 2] = True
    assert words(on).tolist() == [[0, 0, 0], [0, 0, 1 << 5], [1 << 61, 0, 0]]


def test_the_controls_count_what_is_there():
    def of(formula, text):
        genotype = NB201.parse(text)
        network = separate(NB201.network(genotype, inputs=3, outputs=5))
        return formula()(network, (torch.empty(2, 3, 8, 8), None))

    chain = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|nor_conv_1x1~2|"
    bare = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    dead = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"
    assert of(Depth, bare) == (1 + 2 * 2 + 1,)  # stem, two reductions of two, classifier
    assert of(Depth, chain) == (1 + 3 * 3 + 2 * 2 + 1,)
    assert of(Depth, dead) == (1 + 1,)  # the last convolution, of zeros, and the classifier
    widths, sides = (4, 8, 16), (8, 4, 2)
    cells = [19 * w * w for w in widths]  # 9 + 9 + 1 weights a pair of channels
    (more,), (fewer,) = of(Params, chain), of(Params, bare)
    assert more - fewer == sum(cells)
    (more,), (fewer,) = of(Macs, chain), of(Macs, bare)
    assert more - fewer == sum(c * s * s for c, s in zip(cells, sides, strict=True))


def test_az_nas_is_what_its_formulas_say_of_the_plain_networks_features():
    space, batch = NB201, (torch.zeros(6, 3, 8, 8), None)
    text = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|nor_conv_3x3~1|avg_pool_3x3~2|"
    genotype = space.parse(text)
    torch.manual_seed(0)
    network = separate(space.network(genotype, inputs=3, outputs=5)).train()
    expected = space.network(genotype, inputs=3, outputs=5)
    torch.manual_seed(1)
    found = AzNas()(network, batch)
    torch.manual_seed(1)
    images = torch.randn(6, 3, 8, 8)  # noise, whatever the batch has
    initialise(expected)
    plain = PlainNasBench201(expected.double(), space)
    x = plain.norm(F.conv2d(images.double(), expected.stem[0].weight, padding=1), expected.stem[1])
    entropies, nearnesses = [entropy(x)], []

    def step(function, x):
        x = x.detach().requires_grad_()
        y = function(x)
        g = (2 * torch.bernoulli(torch.full(y.shape, 0.5)) - 1).double()
        (back,) = torch.autograd.grad(y, x, g)
        stride = x.shape[2] // y.shape[2]
        mean = 0.0
        for n, i, j in itertools.product(range(6), range(y.shape[2]), range(y.shape[2])):
            window = back[n, :, stride * i : stride * (i + 1), stride * j : stride * (j + 1)]
            mean = mean + torch.outer(window.flatten(), g[n, :, i, j])
        sigma = float(torch.linalg.svdvals(mean / (6 * y.shape[2] ** 2))[0])
        nearnesses.append(2 - sigma - 1 / sigma)
        entropies.append(entropy(y))
        return y

    def reduction(number):
        def reduce(x):
            y = plain.relu_conv_norm(x, f"reductions.{number}.conv_a", 2)
            y = plain.relu_conv_norm(y, f"reductions.{number}.conv_b")
            (weight,), _ = plain.parts(f"reductions.{number}.shortcut")
            return y + F.conv2d(F.avg_pool2d(x, 2), weight)

        return reduce

    for index in range(3):
        if index:
            x = step(reduction(index - 1), x)
        x = step(lambda x, index=index: plain.cell(x, index, genotype, None), x)
    assert found[0] == pytest.approx(sum(entropies), rel=1e-4)
    assert found[1] == pytest.approx(min(np.diff(entropies)), rel=1e-3)
    assert found[2] == pytest.approx(np.mean(nearnesses), rel=1e-3)
    assert found[3] == Macs()(network, batch)[0]
    assert params(network) == params(expected)


def entropy(feature):
    """Return the entropy of the shares of variance along the principal directions."""
    pixels = feature.permute(0, 2, 3, 1).reshape(-1, feature.shape[1]).detach().numpy()
    variances = np.linalg.svd(pixels - pixels.mean(0), compute_uv=False) ** 2
    shares = variances / variances.sum()
    return float(-(shares * np.log(shares)).sum())


@pytest.mark.parametrize("place", [0, 2, 5])
def test_a_feature_without_entropy_anywhere_leaves_no_smallest_gain(place, monkeypatch):
    entropies = itertools.chain(math.nan if n == place else 1.0 + n for n in range(6))
    monkeypatch.setattr(az_nas, "entropy", lambda feature: next(entropies))
    genotype = NB201.parse("|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    network = separate(NB201.network(genotype, inputs=3, outputs=5)).train()
    assert math.isnan(AzNas()(network, (torch.randn(4, 3, 8, 8), None))[1])


def test_a_step_that_changes_nothing_cannot_be_trained():
    genotype = NB201.parse("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    network = separate(NB201.network(genotype, inputs=3, outputs=5)).train()
    assert AzNas()(network, (torch.randn(4, 3, 8, 8), None))[2] == -math.inf
