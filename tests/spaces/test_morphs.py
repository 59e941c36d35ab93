"""Morphs keep the function of a network, and what a step of its optimizer changes."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.spaces.morph import MorphSpace
from nasrun.spaces.morph_layers import Chain
from nasrun.spaces.morphs import Connect, Deep, Repeats, Wide, read, rectified, replayed
from nasrun.tasks.moments import moments_of
from nasrun.trained import Trained

SPACE = MorphSpace(
    channels=2,
    start=("conv3_w1", "pool", "conv3_w1"),
    kernels=(1, 3, 5),
    skips=("add", "concat"),
    deepest=9,
    widest=8,
    largest=20_000,
)
SIZES = {"inputs": 3, "outputs": 4}
EXACT = {torch.float32: 1e-5, torch.float64: 1e-9}
"""Largest difference of the logits, by their type."""
FULL = "layers conv3_w1 pool conv3_w1 conv1_w1 dense_w1 dense_w1; skips "
FULL += "1-3=concat 1-4=add 1-5=add 3-4=concat 3-6=concat 5-6=add"
"""A network with everything that a layer can read and that can read a layer."""


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def random_network(genotype, dtype, seed):
    """Return a network with random weights and running statistics."""
    torch.manual_seed(seed)
    network = SPACE.network(genotype, **SIZES).to(dtype).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.normal_()
            module.bias.data.normal_()
            module.running_mean.normal_()
            module.running_var.uniform_(0.1, 3)
    return network


def loaded(trained, genotype, dtype):
    network = SPACE.network(genotype, **SIZES).to(dtype).eval()
    network.load_state_dict(trained.network, strict=True)
    return network


def difference(one, other, dtype, seed=0):
    x = torch.randn(3, 3, 9, 9, generator=seeded(seed), dtype=dtype)
    with torch.no_grad():
        return float((one(x)[0] - other(x)[0]).abs().max())


@pytest.mark.parametrize("dtype", EXACT)
def test_every_morph_of_a_network_with_everything_keeps_its_logits(dtype):
    genotype = SPACE.parse(FULL)
    network = random_network(genotype, dtype, seed=0)
    morphs = list(SPACE.morphs(genotype))
    kinds = {str(morph).split()[0] for morph in morphs}
    assert kinds == {"deep", "wide", "add", "concat"}
    for morph in [*morphs, Wide(3, 3)]:
        trained = morph.applied(Trained(network.state_dict()), genotype, seeded(1))
        grown = morph.grown(genotype)
        assert difference(network, loaded(trained, grown, dtype), dtype) < EXACT[dtype], morph


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), dtype=st.sampled_from(list(EXACT)))
def test_ten_random_morphs_of_a_random_network_keep_its_logits(seed, dtype):
    generator = seeded(seed)
    genotype = SPACE.sample(generator)
    network = random_network(genotype, dtype, seed)
    trained, grown = Trained(network.state_dict()), genotype
    for _ in range(10):
        morph = next(SPACE.shuffled(grown, generator), None)
        if morph is None:
            break
        trained, grown = replayed(trained, grown, [morph], generator)
    assert SPACE.check(grown) == grown
    assert difference(network, loaded(trained, grown, dtype), dtype, seed) < EXACT[dtype]


OPTIMIZERS = {
    "momentum": lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9),
    "adam": lambda weights: torch.optim.Adam(weights, lr=0.01, eps=1e-12),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_by_the_moments_changes_the_function_as_without_the_morph(optimizer):
    """Step after morph equals morph after step, with gradients of zero: only moments move."""
    genotype, dtype = SPACE.parse(FULL), torch.float64
    network = random_network(genotype, dtype, seed=0)
    before = OPTIMIZERS[optimizer](network.parameters())
    network(torch.randn(3, 3, 9, 9, dtype=dtype))[0].square().sum().backward()
    before.step()
    trained = Trained(
        {name: tensor.clone() for name, tensor in network.state_dict().items()},
        moments=moments_of(network, [before]),
    )
    step(network, before)
    for text in ("wide 1 2", "wide 3 4", "wide 4 2", "wide 5 3", "deep 3 conv3", "deep 1 conv1",
                 "deep 5 dense", "add 1 6", "concat 4 5"):  # fmt: skip
        morph = read(text)
        changed = morph.applied(trained, genotype, seeded(2))
        wider = loaded(changed, morph.grown(genotype), dtype)
        kept = {
            name: parameter
            for name, parameter in wider.named_parameters()
            if name in changed.moments
        }
        assert len(kept) == len(trained.moments)
        after = OPTIMIZERS[optimizer](kept.values())
        for name, parameter in kept.items():
            moments = {key: moment.clone() for key, moment in changed.moments[name].items()}
            assert all(moment.shape in ((), parameter.shape) for moment in moments.values())
            after.state[parameter] = moments
        step(wider, after)
        assert difference(network, wider, dtype) < 1e-9, morph


SCALES = {
    "exp_avg_sq": torch.optim.Adam,
    "square_avg": torch.optim.RMSprop,
    "acc_delta": torch.optim.Adadelta,
    "sum": torch.optim.Adagrad,
    "exp_inf": torch.optim.Adamax,
}


@pytest.mark.parametrize("key", SCALES)
def test_repeated_columns_share_the_scale_of_their_gradients(key):
    genotype, dtype = SPACE.parse("layers conv3_w1 conv3_w1"), torch.float64
    network = random_network(genotype, dtype, seed=0)
    optimizer = SCALES[key](network.parameters())
    network(torch.randn(3, 3, 9, 9, dtype=dtype))[0].square().sum().backward()
    optimizer.step()
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trained = Trained(weights, moments=moments_of(network, [optimizer]))
    changed = read("wide 1 2").applied(trained, genotype, seeded(2))
    before, after = (own.moments["layers.2.map.weight"][key] for own in (trained, changed))
    assert after.shape[1] == 2 * before.shape[1]
    assert set(after.flatten().tolist()) == set(before.flatten().tolist())


def step(network, optimizer):
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


def test_repeated_units_become_different_when_they_are_trained():
    """Else a wider layer could compute no more than before."""
    genotype = SPACE.parse("layers conv3_w1 conv3_w1")
    network = random_network(genotype, torch.float64, seed=0)
    morph = Wide(1, 2)
    trained = morph.applied(Trained(network.state_dict()), genotype, seeded(0))
    wide = loaded(trained, morph.grown(genotype), torch.float64)
    wide(torch.randn(3, 3, 9, 9, dtype=torch.float64))[0][:, 0].sum().backward()
    repeated = {tuple(row.flatten().tolist()) for row in wide.layers["1"].map.weight.data}
    trained_differently = {
        tuple(row.flatten().tolist()) for row in wide.layers["1"].map.weight.grad
    }
    assert len(repeated) == 2
    assert len(trained_differently) == 4


def test_the_units_of_a_doubled_layer_are_repeated_once_each():
    repeats = Repeats.drawn(5, 10, seeded(0))
    assert repeats.old[:5].tolist() == list(range(5))
    assert sorted(repeats.old[5:].tolist()) == list(range(5))
    shares = repeats.shares(3, seeded(0))
    total = torch.zeros(3, 5, dtype=torch.float64).index_add(1, repeats.old, shares)
    assert torch.allclose(total, torch.ones_like(total))
    assert shares.min() > 0.2


def test_morphs_change_neither_their_arguments_nor_more_random_numbers_than_given():
    genotype = SPACE.parse(FULL)
    network = random_network(genotype, torch.float32, seed=0)
    trained = Trained(network.state_dict(), memory={"epochs": 3})
    kept = {name: tensor.clone() for name, tensor in trained.network.items()}
    torch.manual_seed(5)
    for morph in (Wide(3, 2), Deep(3, "conv5"), Connect(4, 6, "concat")):
        one, other = (morph.applied(trained, genotype, seeded(3)) for _ in range(2))
        assert one.memory == {"epochs": 3}
        assert all(torch.equal(one.network[name], other.network[name]) for name in one.network)
    assert all(torch.equal(kept[name], trained.network[name]) for name in kept)
    assert torch.equal(torch.rand(1), torch.rand(1, generator=seeded(5)))


def test_skip_connections_stay_with_their_layers_when_one_is_inserted():
    genotype = SPACE.parse("layers conv3_w1 conv3_w1 conv3_w1; skips 1-2=add 1-3=add 2-3=concat")
    grown = Deep(1, "conv1").grown(genotype)
    assert SPACE.render(grown) == (
        "layers conv3_w1 conv1_w1 conv3_w1 conv3_w1; skips 1-3=add 1-4=add 3-4=concat"
    )


def test_a_network_has_as_many_morphs_as_the_formula_says_and_all_are_different():
    """Three kernels per map, dense after the last map, wide per layer, two kinds per pair."""
    genotype = SPACE.parse("layers conv3_w1 pool conv3_w1 dense_w1")
    morphs = list(SPACE.morphs(genotype))
    assert len(morphs) == 3 * 3 + 2 + 3 + 2 * math.comb(3, 2)
    grown = {morph.grown(genotype) for morph in morphs}
    assert all(SPACE.check(each) == each for each in grown)
    assert all(read(str(morph)) == morph for morph in morphs)
    full = [Connect(1, 3, "add"), Connect(1, 4, "add"), Connect(3, 4, "concat")]
    _, joined = replayed(Trained(random_network(genotype, torch.float32, 0).state_dict()),
                         genotype, full, seeded(0))  # fmt: skip
    assert not any(isinstance(morph, Connect) for morph in SPACE.morphs(joined))


def test_no_morph_leaves_the_limits_of_the_space():
    largest = Chain.of(SPACE.parse("layers conv1_w1 conv1_w2; skips 1-2=add")).parameters(2, 3)
    tight = replace(
        SPACE,
        start=("conv1_w1", "conv1_w2"),
        kernels=(1,),
        skips=("add",),
        deepest=2,
        widest=2,
        largest=largest,
    )
    (start,) = tight.starts()
    assert [str(morph) for morph in tight.morphs(start)] == ["add 1 2"]
    assert not [*tight.shuffled(Connect(1, 2, "add").grown(start), seeded(0))]


def test_an_impossible_morph_is_refused():
    genotype = SPACE.parse("layers conv3_w1 pool conv3_w2 dense_w1; skips 1-3=add")
    for text in ("deep 5 conv3", "deep 0 conv3", "deep 4 conv3", "deep 1 dense", "wide 2 2",
                 "wide 3 2", "wide 9 4", "add 2 3", "add 3 1", "add 1 3", "add 1 9"):  # fmt: skip
        morph = read(text)
        with pytest.raises(ValueError, match=r"."):
            morph.grown(genotype)
    for text in ("", "deep 1", "deep 1 pool", "narrow 1 2", "wide 1"):
        with pytest.raises(ValueError, match="is not a morph"):
            read(text)


def test_moments_of_a_rectified_normal_distribution_are_those_of_many_draws():
    for mean, deviation in ((0.0, 1.0), (1.0, 0.5), (-1.0, 2.0)):
        drawn = (mean + deviation * torch.randn(400_000, generator=seeded(0))).relu()
        found = rectified(torch.tensor(mean), torch.tensor(deviation))
        assert [float(x) for x in found] == pytest.approx(
            [float(drawn.mean()), float(drawn.var())], abs=0.02
        )


def test_a_new_layer_changes_little_in_training_mode_too():
    """Its batch norm expects the mean and the variance that the map has."""
    genotype, dtype = SPACE.parse("layers conv3_w4 conv3_w1"), torch.float64
    network = random_network(genotype, dtype, seed=0)
    x = torch.randn(64, 3, 9, 9, dtype=dtype)
    network.layers["1"].norm.momentum = 1.0
    network.train()(x)
    trained = Deep(1, "conv3").applied(Trained(network.state_dict()), genotype, seeded(0))
    deeper = loaded(trained, Deep(1, "conv3").grown(genotype), dtype).train()
    change = (deeper(x)[0] - network(x)[0]).std() / network(x)[0].std()
    assert change < 0.1
