import pytest
import torch

from nasrun.config import build, compose, resolve
from nasrun.spaces.supernet import batch_statistics
from nasrun.supernet.relaxation import Softmax
from nasrun.supernet.supernet import Supernet

LAYERS = {"darts_s4": 6, "nasbench201": 5, "mobile": 5}


def begun(space):
    torch.manual_seed(0)
    config = compose([f"space={space}", "width=4", f"depth={LAYERS[space]}"]).config
    space = build(resolve(config.space), "space")
    network = space.network(inputs=3, outputs=10)
    return Supernet(space, network, Softmax(), alpha_mean=0.0, alpha_std=1.0)


def masks(supernet, decision):
    choices = supernet.space.decisions[supernet.space.rows[decision]].choices
    return [None, *((decision, choice) for choice in choices)]


@pytest.mark.parametrize(
    ("space", "decision", "alike"),
    [
        ("darts_s4", "normal/2-0", 0),
        ("darts_s4", "reduce/3-1", 2),
        ("nasbench201", "cell/1-0", 0),
        ("mobile", "layer00", 0),
        ("mobile", "layer03", 3),
    ],
)
def test_what_is_compared_is_what_each_mixture_gives_and_blocks_before_run_once(
    space, decision, alike
):
    supernet, runs = begun(space), []
    network = supernet.network
    x = torch.randn(4, 3, 16, 16)
    for number, block in enumerate(network.blocks):
        block.register_forward_hook(lambda *_, number=number: runs.append(number))
    with batch_statistics(supernet), torch.no_grad():
        mixtures = [supernet.mixture(without=mask) for mask in masks(supernet, decision)]
        expected = [network(x, mixture)[0] for mixture in mixtures]
        runs.clear()
        rows = {supernet.space.rows[decision]}
        found = [outputs[0] for outputs in network.compared(x, mixtures, rows)]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert not torch.equal(found[0], found[-1])
    counts = [runs.count(number) for number in range(len(network.blocks))]
    assert counts == [1] * alike + [len(mixtures)] * (len(counts) - alike)


def test_one_mixture_alone_is_a_forward():
    supernet, x = begun("nasbench201").eval(), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        ((logits,),) = supernet.network.compared(x, [supernet.mixture()], ())
        assert torch.equal(logits, supernet(x)[0])


@pytest.mark.parametrize("strategy", ["darts", "pcdarts"])
def test_what_is_decided_dropped_and_weighed_by_edges_is_shared_too(strategy, begin):
    """Masks of one decision, measured together and one by one; the last batch is smaller."""
    words = ["space=darts_s4", "width=8", "depth=4", "images=120", "batch_size=4"]
    found = begin(f"strategy={strategy}", *words)
    found.supernet.fixed.update({"reduce/2-0": "none", "reduce/2-1": "sep_conv_3x3"})
    masks = [("reduce/3-0", "noise"), None, ("reduce/3-0", "sep_conv_3x3")]
    assert found.masked(masks) == [found.masked([mask])[0] for mask in masks]
