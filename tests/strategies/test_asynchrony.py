"""No step of a search waits for the device: it never reads the numbers of a tensor.

The steps run on the meta device, where tensors have no numbers: `float(x)`, `if x > 0`, a list of
x's numbers or an index by a mask are errors there, and so is a tensor left on the CPU. Other waits,
copies of numbers from Python, are detected by their operators.
"""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nasrun.costs.ledger import Results
from nasrun.data.augment import Augment
from nasrun.data.facts import Facts
from nasrun.ops import state
from nasrun.ops.term import Term
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.layout import Layout
from nasrun.strategies.descent import Search
from nasrun.strategies.levels import (
    Bilevel,
    MixedLevel,
    SingleLevel,
    Unrolled,
    UnrolledMixed,
    WeightsOnly,
)
from nasrun.strategies.penalties import BetaDecay, DirichletKL, Exact, ResourceCost, ScoreFunction
from nasrun.strategies.sdarts import Adversarial, RandomNoise, Smoothed
from nasrun.streams import Streams
from nasrun.supernet.relaxation import Concrete, Dirichlet, HardGumbel, OneHot, Softmax
from nasrun.supernet.supernet import Supernet

META = torch.device("meta")
SPACE = DartsSpace(
    operations=("none", "skip_connect", "avg_pool_3x3", "dil_conv_3x3"),
    nodes=1,
    kept_edges=1,
    channels=4,
    layers=3,
)
MIXED = {"lam_train": 1.0, "lam_val": 0.5, "normalise": False}
LEVELS = {
    "bilevel": Bilevel(),
    "unrolled": Unrolled(radius=0.01),
    "single": SingleLevel(),
    "mixed": MixedLevel(**MIXED),
    "unrolled mixed": UnrolledMixed(unrolled=Unrolled(radius=0.01), **MIXED),
    "weights": WeightsOnly(),
    "random": Smoothed(neighbour=RandomNoise(), eps_start=0.0, eps_end=0.3),
    "adversarial": Smoothed(neighbour=Adversarial(steps=2), eps_start=0.0, eps_end=0.3),
}
RELAXATIONS = {
    "softmax": Softmax(),
    "concrete": Concrete(tau_start=1.0, tau_end=0.5),
    "dirichlet": Dirichlet(),
}


WRITES_ARE_SEEN = pytest.mark.skipif(
    torch.__version__.split(".")[:2] < ["2", "15"],
    reason="this torch writes a list to a device unseen by a mode",
)


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(Term, "folds", False)  # sums are folded on a CPU only
    monkeypatch.setattr(state, "awaits_launches", lambda x: True)


class NothingCopied(TorchDispatchMode):
    """Refuses numbers that come to the device from the program, such as a list as index."""

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        written = function is torch.ops.aten.lift_fresh.default and arguments[0].device == META
        moved = function is torch.ops.aten._to_copy.default and arguments[0].device != META
        how = keywords or {}
        moved = moved and how.get("device") == META and not how.get("non_blocking")
        assert not (written or moved), "copied to the device, which is waited for"
        if function is torch.ops.aten._standard_gamma_grad.default:  # has no shape rule of its own
            return torch.empty_like(arguments[0])
        return RESULTS.of(function, arguments, keywords or {})


RESULTS = Results()
"""Those that depend on shapes alone are computed once."""


def search_of(relaxation, *, drop_path=0.0, partial=1, beta_std=None):
    layout = Layout(channels=4, layers=3, affine=False, pool_norm=True, partial=partial)
    network = SPACE.network(inputs=1, outputs=3, layout=layout)
    network.drop_path = drop_path
    supernet = Supernet(
        SPACE, network, relaxation, alpha_mean=0.0, alpha_std=1.0, beta_std=beta_std
    )
    supernet.to(META).train()

    def loss(batch, mixture=None):
        images, labels = batch
        logits = supernet(images) if mixture is None else supernet.network(images, mixture)
        return F.cross_entropy(logits[0], labels)

    return Search(
        streams=Streams(0),
        loss=loss,
        supernet=supernet,
        alphas=supernet.alphas(),
        weights=supernet.weights(),
        buffers=list(network.buffers()),
        alpha_optimizer=torch.optim.Adam(supernet.alphas(), lr=1e-3),
        weight_optimizer=torch.optim.SGD(
            supernet.weights(), lr=0.1, momentum=0.9, weight_decay=3e-4
        ),
        alpha_clip=1.0,
        weight_clip=5.0,
    )


def batch():
    return torch.empty(4, 1, 8, 8, device=META), torch.empty(4, dtype=torch.long, device=META)


def steps(level, search):
    with NothingCopied():
        for _ in range(2):  # the second has momenta
            level.step(search, batch(), batch())


@pytest.mark.parametrize("level", LEVELS)
def test_no_level_waits(level):
    steps(LEVELS[level], search_of(Softmax()))


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_no_soft_relaxation_waits(relaxation):
    steps(Bilevel(), search_of(RELAXATIONS[relaxation]))


@pytest.mark.parametrize("relaxation", [HardGumbel(soft=RELAXATIONS["concrete"]), OneHot(margin=1)])
def test_only_where_paths_are_drawn_a_step_waits_to_know_them(relaxation):
    with pytest.raises(RuntimeError, match="meta"):
        steps(Bilevel(), search_of(relaxation))


@pytest.mark.parametrize("settings", [{"drop_path": 0.3}, {"partial": 2, "beta_std": 0.1}])
def test_neither_drop_path_nor_partial_channels_wait(settings):
    steps(Bilevel(), search_of(Softmax(), **settings))


def test_a_decided_edge_and_a_masked_candidate_do_not_wait():
    search = search_of(Softmax())
    search.supernet.fixed["normal/2-0"] = "avg_pool_3x3"
    steps(Bilevel(), search)
    with NothingCopied():
        mixture = search.supernet.mixture(without=("normal/2-1", "avg_pool_3x3"))
        search.loss(batch(), mixture)


@pytest.mark.parametrize("decided", [False, True])
@pytest.mark.parametrize(
    ("penalty", "relaxation"),
    [
        (DirichletKL(scale=1.0), RELAXATIONS["dirichlet"]),
        (BetaDecay(weight=1.0), Softmax()),
        (ResourceCost(weight=1.0, form="log", estimator=Exact()), Softmax()),
        (
            ResourceCost(weight=1.0, form="log", estimator=ScoreFunction(baseline=True)),
            RELAXATIONS["concrete"],
        ),
    ],
)
def test_no_penalty_waits(penalty, relaxation, decided):
    search = search_of(relaxation)
    if decided:
        search.supernet.fixed["normal/2-0"] = "avg_pool_3x3"
    penalty.begin(search.supernet, SimpleNamespace(inputs=1, outputs=3, size=8))
    with NothingCopied():
        search.descend_alphas(torch.autograd.grad(penalty(), search.alphas))


def test_augmentation_does_not_wait():
    facts = Facts("made up", ("a", "b"), 3, 8, (0.5,) * 3, (0.25,) * 3, True)
    images = torch.empty(4, 3, 8, 8, dtype=torch.uint8, device=META)
    for augment in (Augment(cutout=0.5), Augment(resized_crop=(0.5, 1.0), jitter=0.4)):
        with NothingCopied():
            assert augment(images, facts).shape == images.shape


@pytest.mark.parametrize(
    "copied",
    [
        pytest.param(lambda x: x[[0, 2]], id="a list as index", marks=WRITES_ARE_SEEN),
        pytest.param(lambda x: x * torch.tensor([1.0, 2.0, 3.0]).to(META), id="numbers moved"),
    ],
)
def test_what_would_be_copied_is_noticed(copied):
    with NothingCopied(), pytest.raises(AssertionError, match="copied to the device"):
        copied(torch.empty(3, device=META))
