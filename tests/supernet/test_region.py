"""Compiled regions: the same numbers, one kind of call, and only one warning if it fails.

The compiler's last step, the machine code, is left out: what torch traces is run directly.
"""

import copy
import warnings
from dataclasses import replace
from functools import partial

import pytest
import torch

from nasrun.budget import Budget
from nasrun.ops import state
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.mobile import MobileSpace
from nasrun.spaces.nasbench201 import NasBench201
from nasrun.spaces.supernet import batch_statistics
from nasrun.supernet.region import Compiled, Region, compile_regions, dropped
from nasrun.supernet.relaxation import Softmax
from nasrun.supernet.supernet import Supernet
from nasrun.world import ALONE

DARTS = DartsSpace(
    operations=("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3"),
    nodes=1,
    kept_edges=1,
    channels=4,
    layers=3,
)
TINY = replace(DARTS, operations=("none", "skip_connect", "max_pool_3x3"))
SPACES = {
    "darts": replace(DARTS, operations=("none", "skip_connect", "sep_conv_3x3")),
    "nasbench201": NasBench201(operations=("none", "nor_conv_1x1"), channels=4, layers=3),
    "mobile": MobileSpace(
        kernels=(3,),
        expansions=(1, 2),
        widths=(100,),
        squeeze=(False,),
        skip=True,
        channels=4,
        layers=3,
    ),
}


def budget(**settings):
    return Budget(device="cpu", precision="fp32", threads=1, max_hours=None, **settings)


COMPILED = budget(compile=True)


@pytest.fixture
def traced(monkeypatch):
    """Traces and runs what is compiled; lists the region of each call of a compiled program."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiler, served = torch.compile, []

    def compile(function, **settings):
        program = compiler(function, backend="eager", fullgraph=True, **settings)

        def run(region, *arguments):
            served.append(region)
            return program(region, *arguments)

        return run

    monkeypatch.setattr(torch, "compile", compile)
    return served


@pytest.fixture
def served(monkeypatch):
    """Lists the region of each call of a compiled program; nothing is traced."""
    regions = []

    def compile(function, **settings):
        def run(region, *arguments):
            regions.append(region)
            return function(region, *arguments)

        return run

    monkeypatch.setattr(torch, "compile", compile)
    return regions


def supernet_of(space):
    torch.manual_seed(0)
    network = space.network(inputs=1, outputs=3)
    made = Supernet(space, network, Softmax(), alpha_mean=0.0, alpha_std=1.0)
    return made.to(memory_format=torch.channels_last).train()


def images(count=4):
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def step(network, x):
    """Logits and gradients from the same state of the norms, and the norms' next state."""
    logits = network(x)[0]
    parameters = [p for p in network.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(logits.square().sum(), parameters, allow_unused=True)
    return [logits, *(g for g in gradients if g is not None), *network.buffers()]


@pytest.mark.parametrize(
    ("name", "gathers"), [*((name, False) for name in SPACES), ("darts", True)]
)
def test_a_compiled_supernet_computes_the_same(name, gathers, traced, monkeypatch):
    monkeypatch.setattr(state, "awaits_launches", lambda x: gathers)
    plain, compiled = (supernet_of(SPACES[name]) for _ in range(2))
    compile_regions(compiled.network, COMPILED)
    for _ in range(2):
        expected, found = step(plain, images()), step(compiled, images())
        for one, other in zip(expected, found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert len(traced) == 2 * sum(isinstance(m, Region) for m in compiled.modules())


def test_a_compiled_discretised_network_computes_the_same_whatever_it_drops(traced):
    genotype = DARTS.parse("normal sep_conv_3x3@0; reduce max_pool_3x3@1")
    torch.manual_seed(0)
    plain = DARTS.network(genotype, inputs=1, outputs=3).train()
    compiled = copy.deepcopy(plain)
    compile_regions(compiled, COMPILED)
    for drop_path in (0.0, 0.0, 0.3, 0.5):  # each epoch's is another: no new program for it
        plain.drop_path = compiled.drop_path = drop_path
        results = []
        for network in (plain, compiled):
            torch.manual_seed(2)
            results.append(step(network, images()))
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert len(traced) == 12
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs == 6  # three cells, once without and once with dropped paths


def test_only_training_steps_with_full_batches_and_all_candidates_are_compiled(served):
    supernet = supernet_of(TINY)
    compile_regions(supernet.network, COMPILED)
    normal, *reductions = supernet.network.blocks
    step(supernet, images())
    assert served == [normal, *reductions]
    served.clear()
    step(supernet, images(3))
    assert not served
    supernet.network(images(), supernet.mixture(without=("normal/2-0", "skip_connect")))
    assert served == reductions
    served.clear()
    supernet.fixed["normal/2-0"] = "skip_connect"
    step(supernet, images())
    assert served == reductions
    served.clear()
    with batch_statistics(supernet), torch.no_grad():
        supernet(images())
    with torch.no_grad():
        supernet(images())
    assert not served


def test_a_drawn_path_is_not_compiled_however_often_it_comes(served):
    supernet = supernet_of(TINY)
    compile_regions(supernet.network, COMPILED)
    path = TINY.one_hot(TINY.parse("normal skip_connect@0; reduce max_pool_3x3@1"))
    for _ in range(3):
        supernet.network(images(), path)
    assert not served


def test_a_step_that_adds_what_was_not_drawn_is_not_compiled(served):
    supernet = supernet_of(TINY)
    compile_regions(supernet.network, COMPILED)
    mixture = supernet.mixture()
    supernet.network(images(), replace(mixture, rest=mixture.weights.sum(-1)))
    assert not served


def test_what_is_compiled_does_not_depend_on_earlier_steps(served):
    """An interrupted run, whose process is another, goes on by the same programs."""
    programs = []
    for earlier in (0, 2):
        supernet = supernet_of(TINY)
        compile_regions(supernet.network, COMPILED)
        for _ in range(earlier):
            step(supernet, images())
        served.clear()
        step(supernet, images())
        places = list(supernet.modules())
        programs.append([places.index(region) for region in served])
    assert programs[0] == programs[1]
    assert len(programs[0]) == 3


def test_names_and_copies_stay_as_they_are(served):
    supernet = supernet_of(TINY)
    names = list(supernet.state_dict())
    compile_regions(supernet.network, COMPILED)
    assert list(supernet.state_dict()) == names
    step(supernet, images())
    copied = copy.deepcopy(supernet)
    served.clear()
    step(copied, images())
    assert served == list(copied.network.blocks)


def test_nothing_is_compiled_unless_the_budget_says_so(monkeypatch):
    monkeypatch.setattr(torch, "compile", None)
    compile_regions(supernet_of(TINY).network, budget())


def told_in_equal_steps(plain, other, steps):
    """Check that both networks compute the same, and return the warnings about compiling."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(steps):
            for one, another in zip(step(plain, images()), step(other, images()), strict=True):
                assert torch.equal(one, another)
    return [str(warning.message) for warning in told if "budget.compile" in str(warning.message)]


@pytest.mark.parametrize("failing", ["without a compiler", "in the compiler", "in the gradient"])
def test_where_compiling_fails_one_line_says_so_and_the_numbers_are_the_same(failing, monkeypatch):
    torch._dynamo.reset()

    def backend(graph, inputs):
        if failing == "in the gradient":
            from torch._dynamo.backends.common import aot_autograd

            return aot_autograd(fw_compiler=lambda g, _: g, bw_compiler=_broken)(graph, inputs)
        return _broken(graph, inputs)

    def missing(*arguments):
        raise RuntimeError("Cannot find a working triton installation.\nMore of it")

    def _broken(graph, inputs):
        raise NotImplementedError("this operation is not supported")

    stub = partial(torch.compile, backend=backend)
    if failing == "without a compiler":
        stub = lambda function, **settings: missing  # noqa: E731
    plain, compiled = (supernet_of(TINY) for _ in range(2))
    monkeypatch.setattr(torch, "compile", stub)
    compile_regions(compiled.network, COMPILED)
    lines = told_in_equal_steps(plain, compiled, 3)
    assert len(lines) == 1 and "\n" not in lines[0]


def test_where_launches_cannot_be_recorded_one_line_says_so_and_cells_stay_compiled(monkeypatch):
    from torch._inductor import config

    modes, ran = [], []

    def compile(function, *, mode, **settings):
        modes.append(mode)

        def run(*arguments):
            ran.append(config.triton.cudagraph_or_error)
            if mode == "reduce-overhead":
                raise RuntimeError("skipping cudagraphs due to cpu device\nMore of it")
            return function(*arguments)

        return run

    plain, recorded = (supernet_of(TINY) for _ in range(2))
    monkeypatch.setattr(torch, "compile", compile)
    for module in recorded.modules():
        if isinstance(module, Region):
            module.runner = Compiled(graphs=True)
            break
    assert told_in_equal_steps(plain, recorded, 2) == [
        "budget.compile=graphs: compiled without CUDA graphs (skipping cudagraphs due to cpu "
        "device)"
    ]
    assert modes == ["reduce-overhead", None]
    assert ran == [True, False, False]  # asked to raise instead of a silent way without graphs
    assert config.triton.cudagraph_or_error is False


def test_dropped_samples_are_zero_and_the_others_keep_the_mean():
    torch.manual_seed(0)
    y = dropped(torch.ones(1000, 2, 1, 1), 0.25, ALONE)
    assert torch.equal(y.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert torch.equal(y[:, 0], y[:, 1])  # a sample as a whole
    assert float(y.mean()) == pytest.approx(1.0, abs=0.06)  # 3.3 standard deviations
    torch.manual_seed(0)
    assert torch.equal(dropped(torch.ones(1000, 2, 1, 1), torch.tensor(0.25), ALONE), y)
