"""No forward pass on a GPU meets a tensor that was left on the CPU.

The networks run under torch's fake tensors, which have a device and no numbers, so that no GPU is
needed: an operation whose tensors lie on two devices is an error there, as on a GPU. Backward
passes cannot run so: autograd asks the driver for its streams.
"""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses import FakeTensor, FakeTensorMode
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from nasrun.data.augment import Augment
from nasrun.data.facts import Facts
from nasrun.evaluators.codes import agreements
from nasrun.evaluators.synflow import Synflow
from nasrun.ops.noise import Noise
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.gan import OPERATIONS, GanSpace
from nasrun.spaces.layout import Layout
from nasrun.spaces.mobile import MobileSpace
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.spaces.supernet import batch_statistics
from nasrun.strategies.penalties import BetaDecay, DirichletKL, Exact, ResourceCost, ScoreFunction
from nasrun.strategies.sdarts import RandomNoise
from nasrun.supernet import relaxation as relaxations
from nasrun.supernet.relaxation import Concrete, Dirichlet, HardGumbel, OneHot, Softmax
from nasrun.supernet.supernet import Supernet

CUDA = torch.device("cuda", 0)
MPS = torch.device("mps", 0)
DARTS = DartsSpace(
    operations=("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3", "dil_conv_3x3", "noise"),
    nodes=1,
    kept_edges=1,
    channels=4,
    layers=3,
)
NB201 = NasBench201(
    operations=("none", "skip_connect", "nor_conv_3x3", "avg_pool_3x3"), channels=4, layers=3
)
MOBILE = MobileSpace(
    kernels=(3,),
    expansions=(1, 3),
    widths=(100,),
    squeeze=(False, True),
    skip=True,
    channels=4,
    layers=7,
)
SPACES = {"darts": DARTS, "nasbench201": NB201, "mobile": MOBILE}
CONCRETE = Concrete(tau_start=1.0, tau_end=0.5)
RELAXATIONS = (Softmax(), CONCRETE, Dirichlet(), HardGumbel(soft=CONCRETE), OneHot(margin=0.5))
DRAWN = 1
"""The column that every drawn path takes, since a fake tensor cannot be asked for it."""


@pytest.fixture(autouse=True)
def on_a_gpu(monkeypatch):
    """Run the test under fake tensors; where a GPU is read or seeded, answer for it."""
    monkeypatch.setattr(relaxations, "_there", lambda device, noise: None)
    monkeypatch.setattr(Noise, "repeat", lambda noise, seed: None)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        monkeypatch.setattr(FakeTensor, "tolist", lambda x: [DRAWN] * x.numel(), raising=False)
        yield mode


def moved(network, device=CUDA):
    """Put what a network owns on the GPU, as `to` does: its parameters and its buffers."""
    for module in network.modules():
        for name, value in module._parameters.items():
            if value is not None:
                there = torch.empty(value.shape, dtype=value.dtype, device=device)
                module._parameters[name] = nn.Parameter(there)
        for name, value in module._buffers.items():
            if value is not None:
                there = torch.empty(value.shape, dtype=value.dtype, device=device)
                module._buffers[name] = there
    return network


def batch(size=8):
    return torch.empty(4, 3, size, size, device=CUDA)


def supernet_of(space, relaxation=None, *, beta_std=None, **layout):
    with unset_fake_temporarily():
        network = space.network(inputs=3, outputs=5, layout=Layout(**layout) if layout else None)
        how = {"alpha_mean": 0.0, "alpha_std": 1.0, "beta_std": beta_std}
        made = Supernet(space, network, relaxation or Softmax(), **how)
    return moved(made).train()


def there(outputs):
    """Return whether there are outputs, all on the GPU, with a loss there."""
    labels = torch.empty(4, dtype=torch.long, device=CUDA)
    losses = [F.cross_entropy(logits, labels) for logits in outputs]
    return bool(losses) and all(loss.device == CUDA for loss in losses)


def decided(space):
    return {decision.name: decision.choices[DRAWN] for decision in space.decisions[:1]}


@pytest.mark.parametrize("space", SPACES)
def test_a_search_of_every_relaxation_stays_on_the_gpu(space):
    supernet = supernet_of(SPACES[space])
    for supernet.relaxation in RELAXATIONS:
        assert there(supernet(batch())), supernet.relaxation
    assert there(supernet.eval()(batch()))


def test_a_search_with_partial_channels_betas_and_drop_path_stays_on_the_gpu():
    size = {"channels": 4, "layers": 3, "affine": False, "pool_norm": True}
    supernet = supernet_of(DARTS, beta_std=0.1, partial=2, **size)
    supernet.network.drop_path = 0.3
    assert there(supernet(batch()))


def test_a_neighbour_of_the_mixture_stays_on_the_gpu():
    supernet = supernet_of(DARTS)
    p = supernet.relaxation.mean(supernet.logits).values
    near = RandomNoise().near(lambda weights: None, supernet, p, 0.3)
    assert there(supernet.network(batch(), supernet.mixture(weights=near)))


@pytest.mark.parametrize("space", SPACES)
def test_a_selection_and_its_masked_passes_stay_on_the_gpu(space):
    supernet = supernet_of(SPACES[space])
    supernet.fixed.update(decided(SPACES[space]))
    assert there(supernet(batch()))
    open_one = SPACES[space].decisions[1]
    with torch.no_grad(), batch_statistics(supernet.network):
        mixture = supernet.mixture(without=(open_one.name, open_one.choices[DRAWN]))
        assert there(supernet.network(batch(), mixture))
        with unset_fake_temporarily():
            chosen = SPACES[space].sample(torch.Generator().manual_seed(1))
        assert there(supernet.network(batch(), supernet.at(chosen)))


def network_of(space, *, outputs=5, **layout):
    """A network of a genotype that is drawn, on the GPU."""
    with unset_fake_temporarily():
        chosen = space.sample(torch.Generator().manual_seed(1))
        how = {"layout": Layout(**layout)} if layout else {}
        made = space.network(chosen, inputs=3, outputs=outputs, **how)
    return moved(made)


@pytest.mark.parametrize("space", SPACES)
def test_a_retrained_and_a_transferred_network_stay_on_the_gpu(space):
    for stem, size in (("cifar", 32), ("imagenet", 224)):
        head = space == "darts"
        how = {
            "channels": 4,
            "layers": 7 if space == "mobile" else 3,
            "stem": stem,
            "auxiliary": head,
        }
        network = network_of(SPACES[space], **how)
        network.drop_path = 0.2
        outputs = network.train()(batch(size))
        assert len(outputs) == 1 + head and there(outputs)
        assert there(network.eval()(batch(size)))


@pytest.mark.parametrize("hard", [False, True])
def test_both_networks_of_a_gan_stay_on_the_gpu(hard):
    space = GanSpace(
        num_cells=2,
        bottom=2,
        channels=4,
        latent=12,
        projections=2,
        operations=OPERATIONS,
        blocks=4,
        halvings=2,
        discriminator_channels=4,
        released_sum=False,
        hard=hard,
    )
    network = network_of(space, outputs=3)
    made = network.generator(torch.empty(4, space.latent, device=CUDA))
    assert made.device == CUDA
    assert network.discriminator(made).device == CUDA


def test_penalties_stay_on_the_gpu(monkeypatch):
    with unset_fake_temporarily():
        costs = NB201.costs(inputs=3, outputs=5, size=8)  # are counted before the search
    monkeypatch.setattr(NasBench201, "costs", lambda space, **task: costs)
    for penalty, relaxation in (
        (DirichletKL(scale=1.0), Dirichlet()),
        (BetaDecay(weight=1.0), Softmax()),
        (ResourceCost(weight=1.0, form="log", estimator=Exact()), Softmax()),
        (
            ResourceCost(weight=1.0, form="linear", estimator=ScoreFunction(baseline=True)),
            CONCRETE,
        ),
    ):
        supernet = supernet_of(NB201, relaxation)
        supernet.fixed.update(decided(NB201))
        penalty.begin(supernet, SimpleNamespace(inputs=3, outputs=5, size=8))
        assert penalty().device == CUDA


def test_augmentation_stays_on_the_gpu():
    facts = Facts("made up", ("a", "b"), 3, 8, (0.5,) * 3, (0.25,) * 3, True)
    for augment in (Augment(cutout=0.5), Augment(resized_crop=(0.5, 1.0), jitter=0.4)):
        images = torch.empty(4, 3, 8, 8, dtype=torch.uint8, device=CUDA)
        assert augment(images, facts).device == CUDA


def test_a_tensor_left_on_the_cpu_is_noticed():
    supernet = supernet_of(NB201)
    supernet.missing = torch.zeros(supernet.missing.shape, dtype=torch.bool)
    with pytest.raises((RuntimeError, ValueError), match="cuda"):
        supernet(batch())


class AppleGpu(TorchDispatchMode):
    """Refuse what MPS has not: numbers in double precision, and those drawn from a gamma law."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.device == MPS:
            assert found.dtype != torch.double, function
            assert "gamma" not in str(function), function
        return found


def test_codes_agree_on_a_gpu_without_doubles():
    on = torch.empty(4, 9, dtype=torch.bool, device=MPS)
    with AppleGpu():
        found = agreements(on)
    assert (found.device.type, found.dtype) == ("cpu", torch.double)


def converted(network, change):
    """Do as `_apply`, which cannot swap fake tensors."""
    for module in network.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = nn.Parameter(change(value.detach()))
    return network


def test_synflow_runs_on_a_gpu_without_doubles(monkeypatch):
    monkeypatch.setattr(FakeTensor, "__float__", lambda x: 1.0, raising=False)
    monkeypatch.setattr(nn.Module, "_apply", converted)
    with unset_fake_temporarily():
        network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.ReLU6())
    with AppleGpu():
        assert Synflow()(moved(network, MPS), (torch.empty(2, 3, 5, 5, device=MPS), None)) == (1,)


def test_a_dirichlet_sample_is_drawn_for_a_gpu_that_draws_no_gammas():
    with AppleGpu():
        drawn = Dirichlet().sample(torch.empty(3, 4, device=MPS), 1.0).values
    assert (drawn.device, drawn.shape) == (MPS, (3, 4))
