"""However a network is executed, it computes what the plain one computes (tests/oracle.py)."""

import copy
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import PlainDarts, PlainNasBench201

from nasrun.ops import state
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.spaces.supernet import batch_statistics
from nasrun.supernet.relaxation import Concrete, HardGumbel, Softmax
from nasrun.supernet.supernet import Supernet

DARTS = DartsSpace(
    operations=(
        *("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect"),
        *("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
    ),
    nodes=2,
    kept_edges=2,
    channels=4,
    layers=3,
)
NB201 = NasBench201(
    operations=("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"),
    channels=4,
    layers=3,
)
ORACLES = {"darts": PlainDarts, "nasbench201": PlainNasBench201}
ONE_PATH = HardGumbel(soft=Concrete(tau_start=1, tau_end=1), adds_undrawn=False)
RELAXATIONS = {"softmax": Softmax(), "one path": ONE_PATH}


@st.composite
def situations(draw):
    """A subspace, what is decided and masked in it, a relaxation, a batch size, and the device.

    Of a GPU, only its way to run operations of one kind together is tried.
    """
    space = draw(st.sampled_from([DARTS, NB201]))
    kept = {
        decision.name: tuple(
            draw(st.lists(st.sampled_from(decision.choices), min_size=1, unique=True))
        )
        for decision in space.decisions
        if draw(st.booleans())
    }
    kept = {name: choices for name, choices in kept.items() if choices != ("none",)}
    space = space.restrict(kept)
    fixed = {
        decision.name: draw(st.sampled_from(decision.choices))
        for decision in space.decisions
        if draw(st.integers(0, 4)) == 0
    }
    open_ = [d for d in space.decisions if d.name not in fixed and set(d.choices) != {"none"}]
    without = None
    if open_ and draw(st.booleans()):
        decision = draw(st.sampled_from(open_))
        without = decision.name, draw(st.sampled_from([c for c in decision.choices if c != "none"]))
    how = draw(st.sampled_from(sorted(RELAXATIONS)))
    batch, on_a_gpu = draw(st.sampled_from([4, 7, 16])), draw(st.booleans())
    return space, fixed, without, RELAXATIONS[how], batch, on_a_gpu


def distance(found, expected):
    """|found - expected| / |expected| over all tensors of a list together."""
    off = sum((a.double() - b).square().sum() for a, b in zip(found, expected, strict=True))
    size = sum(b.square().sum() for b in expected)
    return float((off / size).sqrt()) if size else float(off)


def compare(space, batch, *, precision, tolerance, relaxation=None, fixed=(), without=None):
    """Hold logits, gradients and running statistics against those of the plain network."""
    torch.manual_seed(0)
    network = space.network(inputs=3, outputs=5)
    supernet = Supernet(
        space, network, relaxation or RELAXATIONS["softmax"], alpha_mean=0.0, alpha_std=1.0
    )
    supernet.fixed.update(fixed)
    plain = copy.deepcopy(network).double()
    supernet.to(precision).to(memory_format=torch.channels_last)
    x, labels = torch.randn(batch, 3, 12, 12), torch.randint(5, (batch,))

    mixture = supernet.mixture(without=without)
    mix = mixture.weights.detach().double().requires_grad_()
    active = torch.zeros_like(mix)
    for row, columns in enumerate(mixture.active):
        active[row, list(columns)] = 1.0
    oracle = ORACLES[space.name](plain, space, pool_norm=space.search_layout.pool_norm)
    oracle.statistics = {}
    (expected,) = oracle(x.double(), mix=mix * active)
    x = x.to(precision).contiguous(memory_format=torch.channels_last)
    with batch_statistics(supernet), torch.no_grad():
        (measured,) = network(x, mixture)
    (result,) = network(x, mixture)
    for logits in (measured, result.detach()):
        assert distance([logits], [expected.detach()]) < tolerance

    wanted = torch.autograd.grad(
        F.cross_entropy(expected, labels), [mix, *plain.parameters()], materialize_grads=True
    )
    found = torch.autograd.grad(
        F.cross_entropy(result, labels),
        [mixture.weights, *network.parameters()],
        materialize_grads=True,
    )
    assert distance(found, wanted) < tolerance

    names = {module: name for name, module in plain.named_modules()}
    seen = {names[norm]: statistics for norm, statistics in oracle.statistics.items()}
    for name, norm in network.named_modules():
        if isinstance(norm, torch.nn.BatchNorm2d) and norm.num_batches_tracked:
            mean, variance = seen[name]  # torch's momentum: a tenth of the new, from 0 and 1
            close = {"rtol": tolerance, "atol": tolerance}
            torch.testing.assert_close(norm.running_mean.double(), 0.1 * mean, **close)
            torch.testing.assert_close(norm.running_var.double(), 0.9 + 0.1 * variance, **close)


@settings(max_examples=24, deadline=None, derandomize=True)
@given(situations())
def test_every_mixture_mask_and_decision_is_carried_out_as_in_the_plain_network(situation):
    """In double precision: in single a value that is nearly zero may get another sign."""
    space, fixed, without, relaxation, batch, on_a_gpu = situation
    with patch.object(state, "awaits_launches", lambda x: on_a_gpu):
        compare(
            space,
            batch,
            precision=torch.float64,
            tolerance=1e-9,
            relaxation=relaxation,
            fixed=fixed,
            without=without,
        )


@pytest.mark.parametrize("batch", [4, 7, 16])
@pytest.mark.parametrize("space", [DARTS, NB201], ids=lambda space: space.name)
def test_single_precision_is_exact_to_a_hundred_thousandth(space, batch):
    compare(space, batch, precision=torch.float32, tolerance=1e-5)


def released(plain):
    """The plain network with the edges of AutoDL-Projects' `forward_gdas`, or of its `_v1`."""

    class Released(plain):
        adds_undrawn = True

        def edge(self, x, decision, name, stride, genotype, mix):
            row = self.space.rows[decision]
            index = int(mix[row].argmax())
            choices = self.space.decisions[row].choices
            drawn = mix[row][index] * self.operation(x, choices[index], name, stride)
            if not self.adds_undrawn:
                return drawn
            return drawn + sum(w for k, w in enumerate(mix[row][: len(choices)]) if k != index)

    return Released


@pytest.mark.parametrize("adds_undrawn", [None, True, False])
@pytest.mark.parametrize("space", [DARTS, NB201], ids=lambda space: space.name)
def test_the_alphas_of_gdas_get_the_gradient_of_the_released_cell(space, adds_undrawn):
    gdas = HardGumbel(soft=Concrete(tau_start=2, tau_end=2), adds_undrawn=adds_undrawn)
    torch.manual_seed(0)
    network = space.network(inputs=3, outputs=5)
    supernet = Supernet(space, network, gdas, alpha_mean=0.0, alpha_std=1.0).double()
    fixed = space.decisions[0]
    supernet.fixed[fixed.name] = fixed.choices[-1]
    oracle = released(ORACLES[space.name])(network, space, pool_norm=space.search_layout.pool_norm)
    oracle.adds_undrawn = space is NB201 if adds_undrawn is None else adds_undrawn
    x, labels = torch.randn(4, 3, 12, 12).double(), torch.randint(5, (4,))
    silent = 0
    for seed in range(4):
        torch.manual_seed(seed)
        (found,) = torch.autograd.grad(F.cross_entropy(supernet(x)[0], labels), supernet.alpha)

        torch.manual_seed(seed)
        gumbels = -torch.log(-torch.log(torch.rand_like(supernet.alpha)))
        probs = torch.softmax((supernet.alpha.log_softmax(1) + gumbels) / 2, 1)
        one_h = torch.zeros_like(probs).scatter_(1, probs.argmax(1, keepdim=True), 1.0)
        hardwts = one_h - probs.detach() + probs
        decided = torch.eye(probs.shape[1]).double()[len(fixed.choices) - 1]
        hardwts = torch.cat([decided[None], hardwts[1:]])
        loss = F.cross_entropy(oracle(x, mix=hardwts)[0], labels)
        (expected,) = torch.autograd.grad(loss, supernet.alpha)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-12)
        silent += int((found[1:] == 0).all(1).sum())
    assert (silent == 0) == oracle.adds_undrawn  # else what draws `none` learns nothing
