"""The largest eigenvalue of the Hessian of the loss with respect to the alphas."""

import pytest
import torch
import torch.nn.functional as F

from nasrun.spaces.supernet import batch_statistics
from nasrun.strategies.curvature import Curvature, largest_eigenvalue

SMALL = ["rounds=2", "width=2", "depth=3", "batch_size=16", "images=64", "space.nodes=1"]
SMALL += ["space.kept_edges=1", "dataset.size=8"]
SMALL += ["space.operations=[none,max_pool_3x3,avg_pool_3x3,skip_connect,dil_conv_3x3]"]
ASKED = "strategy.curvature={_target_: nasrun.strategies.curvature.Curvature, images: 16}"


def dense(strategy, images):
    """All second derivatives of the loss on the same images, by torch's own means."""
    supernet = strategy.supernet
    (batch,) = strategy.task.subset(strategy.validation, images).batches(images)
    alphas = supernet.alphas()
    sizes = [each.numel() for each in alphas]

    def loss(flat):
        parts = [p.view_as(a) for p, a in zip(flat.split(sizes), alphas, strict=True)]
        mixture = torch.func.functional_call(
            supernet, dict(zip(("alpha", "beta"), parts, strict=False)), kwargs={}, args=()
        )
        logits, *_ = supernet.network(batch[0].contiguous(), mixture)
        return F.cross_entropy(logits, batch[1])

    supernet.forward = lambda: supernet.mixture(sampled=False)
    for weight in supernet.weights():
        weight.data = weight.data.contiguous()
    with batch_statistics(supernet):
        flat = torch.cat([each.detach().flatten() for each in alphas])
        found = torch.autograd.functional.hessian(loss, flat)
    del supernet.forward
    return found


@pytest.mark.parametrize("strategy", ["darts", "pcdarts"])  # one has weights of edges, too
def test_it_is_that_of_the_dense_hessian(begin, strategy):
    begun = begin(*SMALL, f"strategy={strategy}")
    begun.run_round()
    found = Curvature(images=16).measure(begun.supernet, begun.task, begun.validation)
    values = torch.linalg.eigvalsh(dense(begun, 16).double())
    assert found.value == pytest.approx(float(values[-1]), rel=1e-4)
    assert found.error <= 1e-3 * found.value
    assert found.products < len(values)


def test_a_round_logs_it_and_is_otherwise_the_same(begin):
    logged = []
    for words in ([], [ASKED]):
        asked = begin(*SMALL, *words)
        for _ in range(2):
            logged.append(asked.run_round())
            asked.round += 1
    values = [metrics.pop("alpha_eigenvalue") for metrics in logged[2:]]
    assert logged[2:] == logged[:2]
    last = asked.curvature.measure(asked.supernet, asked.task, asked.validation)
    assert values[1] == last.value != values[0]
    assert "alpha_eigenvalue" not in asked.run_round()  # a selector tunes


def test_what_cannot_be_measured_is_refused_before_the_search(begin):
    for words, told in {
        "images: 1": "images=1: use at least 2",
        "images: 9999": "^strategy.curvature.images=9999: there are 16; use at most 16",
        "images: 16, tolerance: 2": "tolerance=2: use more than 0 and less than 1",
        "images: 16, products: 0": "products=0: use 1 or more",
    }.items():
        with pytest.raises(ValueError, match=told):
            begin(*SMALL, ASKED.replace("images: 16", words))
    with pytest.raises(ValueError, match=r"relaxation=OneHot, .*no second derivative"):
        begin(*SMALL, "strategy=dsnas", ASKED)


def test_it_is_measured_without_tf32(begin, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    begun, seen = begin(*SMALL), []
    begun.supernet.network.register_forward_hook(
        lambda *_: seen.append(torch.backends.cudnn.allow_tf32)
    )
    Curvature(images=16).measure(begun.supernet, begun.task, begun.validation)
    assert seen == [False] and torch.backends.cudnn.allow_tf32


def test_lanczos_finds_the_largest_eigenvalue_whatever_the_spectrum():
    generator = torch.Generator().manual_seed(1)
    for values in ([0.0] * 5, [2.0], [1.0, 1.0, -9.0, 0.5], torch.linspace(-1, 3, 50).tolist()):
        basis, _ = torch.linalg.qr(
            torch.randn(len(values), len(values), dtype=torch.double, generator=generator)
        )
        matrix = basis @ torch.diag(torch.tensor(values, dtype=torch.double)) @ basis.T
        found = largest_eigenvalue(
            lambda v, m=matrix: m @ v, len(values), tolerance=1e-9, products=100
        )
        assert found.value == pytest.approx(max(values), abs=1e-8)
        assert found.error <= 1e-8
    few = largest_eigenvalue(lambda v: matrix @ v, 50, tolerance=1e-9, products=3)
    assert few.products == 3
    assert min(abs(few.value - value) for value in values) <= few.error
    lost = largest_eigenvalue(lambda v: v * torch.nan, 4, tolerance=1e-3, products=9)
    assert lost.value != lost.value
