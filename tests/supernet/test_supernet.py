"""The supernet: mixtures, masks, decided edges, the rules that read it, and SNAS's gradient."""

import io
import math
from functools import lru_cache

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import OPERATIONS

from nasrun.genotype import NONE, Genotype
from nasrun.spaces.darts import DartsSpace
from nasrun.spaces.supernet import batch_statistics
from nasrun.supernet.mixture import Mixture
from nasrun.supernet.relaxation import Concrete, HardGumbel, OneHot, Softmax
from nasrun.supernet.supernet import Supernet, argmax, magnitude

SETTINGS = {"operations": OPERATIONS, "nodes": 4, "kept_edges": 2, "channels": 4, "layers": 3}
SPACE = DartsSpace(**SETTINGS)
SMALL = DartsSpace(**{**SETTINGS, "nodes": 2, "operations": (*OPERATIONS[:4], "dil_conv_3x3")})
SNAS = Concrete(tau_start=1.0, tau_end=0.03)
alphas = st.builds(
    lambda seed, scale: scale * torch.randn(28, 8, generator=torch.Generator().manual_seed(seed)),
    st.integers(0, 2**31),
    st.sampled_from([0.001, 1.0, 5.0]),
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def supernet(space=SMALL, relaxation=None, mean=0.0, std=1.0, beta_std=None):
    network = space.network(inputs=3, outputs=5)
    settings = {"alpha_mean": mean, "alpha_std": std, "beta_std": beta_std}
    return Supernet(space, network, relaxation or Softmax(), **settings)


def images(count=4, size=8):
    return torch.randn(count, 3, size, size)


def logits(model, x, mixture):
    with batch_statistics(model), torch.no_grad():
        return model.network(x, mixture)[0]


def changed(mixture, row, column, weight):
    weights = mixture.weights.detach().clone()
    weights[row, column] = weight
    return Mixture(weights, mixture.active)


def noted(operation, ran, name):
    """Have an operation write its name down whenever it runs."""
    term = operation.term
    operation.term = lambda state: ran.append(name) or term(state)


@lru_cache
def shared():
    """One supernet of the whole space for tests that leave its weights alone."""
    torch.manual_seed(0)
    return supernet(SPACE), images()


# Forward


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.fixed_dictionaries({d.name: st.sampled_from(d.choices) for d in SPACE.decisions}))
def test_at_a_genotype_it_equals_the_discretised_network_with_the_same_weights(choices):
    genotype = Genotype("darts", choices)
    model, x = shared()
    discretised = SPACE.network(genotype, inputs=3, outputs=5)
    weights = model.network.state_dict()
    assert set(discretised.state_dict()) <= set(weights)
    discretised.load_state_dict({name: weights[name] for name in discretised.state_dict()})
    with batch_statistics(discretised), torch.no_grad():
        expected = discretised(x)[0]
    result = logits(model, x, model.at(genotype))
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


def test_training_mixes_a_sample_and_evaluation_the_probabilities():
    model, x = supernet(relaxation=SNAS), images()
    model.progress = 0.5
    first, second = model.mixture().weights, model.mixture().weights
    assert not torch.equal(first, second)
    model.eval()
    expected = model.alpha.detach().exp() / model.alpha.detach().exp().sum(1, keepdim=True)
    torch.testing.assert_close(model.mixture().weights, expected)
    torch.testing.assert_close(model(x)[0], model.network(x, model.mixture())[0])


@pytest.mark.parametrize("hard", [False, True])
def test_with_per_cell_every_cell_draws_its_own_sample_in_training_and_none_in_evaluation(hard):
    soft = Concrete(tau_start=1.0, tau_end=1.0, per_cell=True)
    model = supernet(relaxation=HardGumbel(soft=soft) if hard else soft)
    seen = []
    for block in model.network.blocks:
        block.register_forward_pre_hook(lambda _, given: seen.append(given[1].weights))
    model(images())
    drawn = {tuple(weights.flatten().tolist()) for weights in seen}
    assert len(drawn) == len(seen) == 3
    seen.clear()
    model.eval()
    model(images())
    assert len({id(weights) for weights in seen}) == 1


def test_of_a_one_hot_sample_only_the_drawn_operations_run_and_train():
    model, x = supernet(relaxation=OneHot(margin=None)), images()
    ran = []
    for cell in model.network.cells:
        for edge in cell.edges.values():
            for choice, module in edge.candidates.items():
                noted(module, ran, (edge.row, choice))
    mixture = model.mixture()
    model.network(x, mixture)[0].sum().backward()
    drawn = [
        (row, decision.choices[int(mixture.weights[row].argmax())])
        for row, decision in enumerate(SMALL.decisions)
    ]
    cells = {0: 1, 1: 2}  # of three cells one is normal: rows of the first cell type run once
    expected = [at for at in drawn if at[1] != NONE for _ in range(cells[at[0] >= len(drawn) // 2])]
    assert sorted(ran) == sorted(expected)
    for name, weight in model.network.named_parameters():
        if ".candidates." in name:
            place, _, rest = name.partition(".candidates.")
            row = model.network.get_submodule(place).row
            assert (weight.grad is not None) == ((row, rest.split(".")[0]) in drawn), name


def test_a_mixture_is_a_sample_or_the_mean_as_it_is_asked_for():
    model = supernet(relaxation=SNAS)
    model.progress = 0.5
    mean = torch.softmax(model.alpha, 1)
    for mode in (True, False):
        model.train(mode)
        torch.testing.assert_close(model.mixture(sampled=False).weights, mean)
        assert not torch.allclose(model.mixture(sampled=True).weights, mean)


def test_the_expectation_is_the_softmax_whatever_the_relaxation_and_one_hot_where_decided():
    for relaxation in (Softmax(), SNAS, OneHot(margin=None)):
        model = supernet(relaxation=relaxation)
        torch.testing.assert_close(model.expectation(), torch.softmax(model.alpha, 1))
        model.fixed = {"normal/2-0": "skip_connect", "normal/2-1": NONE}
        assert model.expectation()[:2].tolist() == [[0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]
        (gradient,) = torch.autograd.grad(model.expectation()[:, 0].sum(), model.alpha)
        assert (gradient[:2] == 0).all()
        assert (gradient[2:] != 0).any()


def test_the_temperature_follows_the_progress():
    model, noisy_alphas = supernet(relaxation=SNAS).double(), []
    for model.progress, tau in ((1 / 150, 0.9935333333), (75 / 150, 0.515)):
        torch.manual_seed(3)
        logarithms = model.mixture().weights.log()
        noisy_alphas.append(tau * (logarithms - logarithms[:, :1]))
    torch.testing.assert_close(*noisy_alphas)


def test_alphas_start_with_the_mean_and_deviation_asked_for():
    alpha = supernet(SPACE, mean=1.0, std=0.01).alpha
    assert alpha.shape == (28, 8)
    assert alpha.mean().item() == pytest.approx(1.0, abs=5 * 0.01 / math.sqrt(224))
    assert alpha.std().item() == pytest.approx(0.01, rel=0.25)


def test_weights_are_all_parameters_but_the_alphas():
    model = supernet()
    ids = {id(weight) for weight in model.weights()}
    assert id(model.alpha) not in ids
    assert ids | {id(model.alpha)} == {id(parameter) for parameter in model.parameters()}


def test_the_weight_of_none_changes_nothing_but_by_being_missing_elsewhere():
    model, x = supernet(), images()
    mixture = model.mixture()
    for weight in (0.0, 1.0, float("nan")):
        without_none = changed(mixture, slice(None), 0, weight)
        assert torch.equal(logits(model, x, without_none), logits(model, x, mixture))
    with torch.no_grad():
        model.alpha[:, 0] += 1.0  # the others shrink by one common factor a row
    ratio = model.mixture().weights / mixture.weights
    torch.testing.assert_close(ratio[:, 1:], ratio[:, 1:2].expand(-1, 4))
    assert (ratio[:, 1:] < 1).all()


# Masks and decisions


def test_a_mask_takes_one_candidate_away_and_does_not_renormalise_the_others():
    model, x = supernet(), images()
    model.eval()
    plain = model.mixture()
    for decision, choice in (("normal/3-1", "skip_connect"), ("reduce/2-0", "dil_conv_3x3")):
        masked = model.mixture(without=(decision, choice))
        row, column = SMALL.rows[decision], SMALL.operations.index(choice)
        assert column not in masked.active[row]
        assert masked.active[:row] + masked.active[row + 1 :] == ((1, 2, 3, 4),) * 9
        kept = list(masked.active[row])
        assert len(kept) == 3
        assert torch.equal(masked.weights[row, kept], plain.weights[row, kept])
        expected = logits(model, x, changed(plain, row, column, 0.0))
        torch.testing.assert_close(logits(model, x, masked), expected)
        assert not torch.allclose(expected, logits(model, x, plain))


def test_masking_none_changes_nothing():
    model, x = supernet(), images()
    masked = model.mixture(without=("normal/3-1", NONE))
    assert torch.equal(logits(model, x, masked), logits(model, x, model.mixture()))


@pytest.mark.parametrize("relaxation", [Softmax(), SNAS])
def test_a_decided_edge_runs_its_choice_with_weight_one_and_its_alphas_get_no_gradient(relaxation):
    model = supernet(relaxation=relaxation)
    model.progress = 0.1  # at the lowest temperature gradients vanish
    model.fixed = {"normal/3-1": "skip_connect", "reduce/3-2": NONE}
    mixture = model.mixture()
    assert mixture.weights[SMALL.rows["normal/3-1"]].tolist() == [0, 0, 0, 1, 0]
    assert mixture.weights[SMALL.rows["reduce/3-2"]].tolist() == [0, 0, 0, 0, 0]
    assert mixture.active[SMALL.rows["normal/3-1"]] == (3,)
    assert mixture.active[SMALL.rows["reduce/3-2"]] == ()
    F.cross_entropy(model(images())[0], torch.tensor([0, 1, 2, 3])).backward()
    decided = [SMALL.rows[name] for name in model.fixed]
    free = [row for row in range(10) if row not in decided]
    assert (model.alpha.grad[decided] == 0).all()
    assert (model.alpha.grad[free] != 0).any(1).all()


def test_with_all_edges_decided_it_is_the_network_of_that_genotype():
    model, x = supernet(), images()
    genotype = SMALL.sample()
    model.fixed = dict(genotype)
    assert torch.equal(logits(model, x, model.mixture()), logits(model, x, model.at(genotype)))
    assert model.genotype(argmax) == genotype


def test_masking_the_choice_of_a_decided_edge_removes_the_edge():
    model, x = supernet(), images()
    model.fixed = {"normal/2-0": "max_pool_3x3"}
    mixture = model.mixture(without=("normal/2-0", "max_pool_3x3"))
    assert mixture.active[0] == ()
    masked = logits(model, x, mixture)
    assert not torch.allclose(masked, logits(model, x, model.mixture()))
    model.fixed = {"normal/2-0": NONE}
    assert torch.equal(masked, logits(model, x, model.mixture()))


def test_missing_choices_have_no_weight_no_gradient_and_no_probability():
    narrow = SMALL.restrict(
        {"normal/2-0": ("dil_conv_3x3",), "reduce/3-2": ("none", "skip_connect")}
    )
    for relaxation in (Softmax(), SNAS):
        model = supernet(narrow, relaxation)
        mixture = model.mixture()
        assert mixture.weights[0].tolist() == [1, 0, 0, 0, 0]
        assert mixture.active[0] == (0,)
        assert mixture.active[9] == (1,)
        torch.testing.assert_close(mixture.weights.sum(1), torch.ones(10))
        model(images())[0].square().sum().backward()
        assert model.alpha.grad.isfinite().all()
        assert (model.alpha.grad[0] == 0).all()
        assert (model.alpha.grad[9, 2:] == 0).all()
        assert (model.alpha.grad[9, :2] != 0).all()
        assert model.probabilities()["normal/2-0"] == {"dil_conv_3x3": 1.0}
        assert set(model.probabilities()["reduce/3-2"]) == {"none", "skip_connect"}


def test_probabilities_are_the_softmax_of_the_alphas_and_zero_or_one_where_decided():
    model = supernet(relaxation=SNAS)
    model.fixed = {"reduce/2-1": "avg_pool_3x3", "reduce/2-0": NONE}
    table = model.probabilities()
    assert list(table) == list(SMALL.rows)
    for row, (name, probabilities) in enumerate(table.items()):
        assert sum(probabilities.values()) == pytest.approx(1.0)
        if name not in model.fixed:
            powers = [math.exp(alpha) for alpha in model.alpha[row].tolist()]
            expected = {c: p / sum(powers) for c, p in zip(SMALL.operations, powers, strict=True)}
            assert probabilities == pytest.approx(expected)
    assert table["reduce/2-1"] == {c: float(c == "avg_pool_3x3") for c in SMALL.operations}
    assert table["reduce/2-0"] == {c: float(c == NONE) for c in SMALL.operations}


def test_alphas_decisions_and_progress_survive_a_saved_state():
    model = supernet()
    model.fixed, model.progress = {"normal/2-1": "skip_connect", "reduce/2-0": NONE}, 0.25
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = supernet()
    other.fixed = {"normal/3-0": "dil_conv_3x3"}  # gone after the load
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.fixed == model.fixed
    assert other.progress == 0.25
    assert torch.equal(other.alpha, model.alpha)
    x = images()
    assert torch.equal(logits(other, x, other.mixture()), logits(model, x, model.mixture()))
    other.fixed["normal/3-0"] = NONE
    assert "normal/3-0" not in model.fixed


# Sampled operations: GDAS


GDAS = HardGumbel(soft=Concrete(tau_start=10.0, tau_end=0.1))


def test_only_the_drawn_operation_of_an_edge_runs_and_none_runs_nothing(monkeypatch):
    model, x, ran = supernet(relaxation=GDAS), images(), []
    for name, module in model.network.named_modules():
        if name.rpartition(".")[0].endswith("candidates"):
            noted(module, ran, name)
    for _ in range(3):
        ran.clear()
        mixture = model.mixture()
        model.network(x, mixture)
        drawn = mixture.weights.argmax(1).tolist()
        expected = {
            decision.name: decision.choices[column]
            for decision, column in zip(SMALL.decisions, drawn, strict=True)
            if decision.choices[column] != NONE
        }
        cells = ["normal", "reduce", "reduce"]  # of three layers the last two reduce
        assert sorted(ran) == sorted(
            f"cells.{index}.edges.{name.partition('/')[2]}.candidates.{choice}"
            for index, cell in enumerate(cells)
            for name, choice in expected.items()
            if name.startswith(cell)
        )


def test_a_sampled_forward_costs_what_the_drawn_network_costs():
    """Multiply-adds of the convolutions, counted by torch: those of the drawn genotype alone."""
    from torch.utils.flop_counter import FlopCounterMode

    def flops(forward):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            forward()
        return counter.get_total_flops()

    model, x = supernet(relaxation=GDAS), images()
    whole = flops(lambda: model.network(x, supernet().mixture()))
    costs = set()
    for _ in range(5):
        mixture = model.mixture()
        drawn = {
            decision.name: decision.choices[column]
            for decision, column in zip(SMALL.decisions, mixture.weights.argmax(1), strict=True)
        }
        discretised = SMALL.network(Genotype("darts", drawn), inputs=3, outputs=5)
        cost = flops(lambda mixture=mixture: model.network(x, mixture))
        assert cost == flops(lambda network=discretised: network(x))
        costs.add(cost)
    assert len(costs) > 1
    assert max(costs) < whole


def test_a_hard_sample_gives_every_logit_of_a_running_edge_a_gradient():
    model, x = supernet(relaxation=GDAS), images()
    model.progress = 0.1
    with torch.no_grad():
        model.alpha[4, 0] = 50.0  # draws none
    torch.manual_seed(3)
    drawn = model.mixture().weights.argmax(1)
    torch.manual_seed(3)
    F.cross_entropy(model(x)[0], torch.tensor([0, 1, 2, 3])).backward()
    running = drawn != 0  # column 0 is none
    assert not running[4]
    assert running.sum() > 4
    assert (model.alpha.grad[running] != 0).all()
    assert (model.alpha.grad[~running] == 0).all()


def test_a_masked_candidate_of_a_sampled_search_is_missed_in_evaluation():
    """So that perturbation can judge it: evaluation mixes probabilities, it does not sample."""
    model, x = supernet(relaxation=GDAS), images()
    model.eval()
    plain = logits(model, x, model.mixture())
    assert torch.equal(plain, logits(model, x, model.mixture()))
    for choice in SMALL.operations[1:]:
        masked = model.mixture(without=("normal/3-1", choice))
        assert not torch.allclose(logits(model, x, masked), plain)


# Edge weights: PC-DARTS


def edge_softmax(model, space):
    """beta -> softmax over the edges into a node, node by node."""
    found = torch.zeros(len(space.decisions))
    for node in {name.rpartition("-")[0] for name in space.rows}:
        rows = [row for name, row in space.rows.items() if name.rpartition("-")[0] == node]
        powers = model.beta.detach()[rows].exp()
        found[rows] = powers / powers.sum()
    return found


def test_the_edges_into_a_node_share_one_and_multiply_their_operations():
    model = supernet(SPACE, beta_std=1.0)
    edges = edge_softmax(model, SPACE)
    assert edges.sum().item() == pytest.approx(8)  # four nodes of two cell types
    plain = torch.softmax(model.alpha.detach(), 1)
    torch.testing.assert_close(model.mixture().weights, edges[:, None] * plain)
    table = model.probabilities()
    for row, name in enumerate(SPACE.rows):
        assert sum(table[name].values()) == pytest.approx(edges[row].item(), rel=1e-5)


def test_magnitude_ranks_edges_by_beta_times_alpha():
    model = supernet(SPACE, beta_std=1.0)
    rows = (edge_softmax(model, SPACE)[:, None] * model.alpha.detach().softmax(1)).tolist()
    genotype = model.genotype(magnitude)
    table = {f"normal/{edge}": op for edge, op in released_rule(rows[:14]).items()}
    table |= {f"reduce/{edge}": op for edge, op in released_rule(rows[14:]).items()}
    assert {name: choice for name, choice in genotype.items() if choice != NONE} == table
    without = supernet(SPACE)
    with torch.no_grad():
        without.alpha.copy_(model.alpha)
    assert without.genotype(magnitude) != genotype
    assert without.genotype(argmax) == model.genotype(argmax)


def test_betas_are_of_the_architecture_learn_and_are_saved():
    model = supernet(beta_std=1e-3)
    assert [id(p) for p in model.alphas()] == [id(model.alpha), id(model.beta)]
    assert id(model.beta) not in {id(weight) for weight in model.weights()}
    F.cross_entropy(model(images())[0], torch.tensor([0, 1, 2, 3])).backward()
    assert (model.beta.grad != 0).all()
    by_node = torch.zeros(4).index_add(
        0, torch.tensor([0, 0, 1, 1, 1, 2, 2, 3, 3, 3]), model.beta.grad
    )
    torch.testing.assert_close(by_node, torch.zeros(4), rtol=0, atol=1e-6)  # a softmax's
    other = supernet(beta_std=1.0)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.beta, model.beta)
    assert "beta" not in supernet().state_dict()


def test_a_decided_edge_keeps_its_weight_among_edges():
    model = supernet(beta_std=1.0)
    model.fixed = {"normal/3-1": "skip_connect"}
    row = SMALL.rows["normal/3-1"]
    assert model.mixture().weights[row, 3].item() == pytest.approx(
        edge_softmax(model, SMALL)[row].item()
    )
    F.cross_entropy(model(images())[0], torch.tensor([0, 1, 2, 3])).backward()
    assert (model.alpha.grad[row] == 0).all()
    assert model.beta.grad[row] != 0


# Rules


def released_rule(rows):
    """DARTS's selection over a cell's rows of probabilities, as its repository does it: per node
    (predecessors, operations) of the two strongest, `none` (column 0) never counted."""
    found, start = {}, 0
    for node in range(2, 6):
        block = rows[start : start + node]
        best = sorted(range(node), key=lambda j: -max(block[j][1:]))[:2]
        for source in best:
            column = max(range(1, 8), key=lambda k: block[source][k])
            found[f"{node}-{source}"] = OPERATIONS[column]
        start += node
    return found


@settings(max_examples=60, deadline=None, derandomize=True)
@given(alphas)
def test_magnitude_keeps_the_edges_that_the_released_code_keeps(alpha):
    model = shared()[0]
    with torch.no_grad():
        model.alpha.copy_(alpha)
    powers = alpha.double().exp()
    rows = (powers / powers.sum(1, keepdim=True)).tolist()
    genotype = model.genotype(magnitude)
    table = {f"normal/{edge}": op for edge, op in released_rule(rows[:14]).items()}
    table |= {f"reduce/{edge}": op for edge, op in released_rule(rows[14:]).items()}
    assert {name: choice for name, choice in genotype.items() if choice != NONE} == table


def test_magnitude_ranks_edges_by_probability_and_not_by_alpha():
    model = supernet(SPACE, std=0.0)
    with torch.no_grad():
        # Node 3 of the normal cell. By alpha its edges rank 4 > 3 > 2, by probability 2 wins:
        # the first is nearly all none.
        rows = [SPACE.rows[f"normal/3-{source}"] for source in range(3)]
        model.alpha[rows] = -5.0
        for row, none, convolution in zip(rows, (8.0, 0.0, -5.0), (4.0, 3.0, 2.0), strict=True):
            model.alpha[row, 0], model.alpha[row, 4] = none, convolution
    genotype = model.genotype(magnitude)
    chosen = [genotype[f"normal/3-{source}"] for source in range(3)]
    assert chosen == [NONE, "sep_conv_3x3", "sep_conv_3x3"]


def test_magnitude_gives_ties_to_the_earlier_operation_and_the_earlier_edge():
    genotype = supernet(SPACE, std=0.0).genotype(magnitude)
    for name, choice in genotype.items():
        assert choice == ("max_pool_3x3" if name.endswith(("-0", "-1")) else NONE)


def test_magnitude_never_takes_none_however_likely():
    model = supernet(SPACE)
    with torch.no_grad():
        model.alpha[:, 0] = 50.0
        model.alpha[:, 5] = 20.0
    kept = [choice for choice in model.genotype(magnitude).values() if choice != NONE]
    assert kept == ["sep_conv_5x5"] * 16


@settings(max_examples=30, deadline=None, derandomize=True)
@given(alphas)
def test_argmax_takes_the_largest_alpha_of_each_edge_none_included(alpha):
    model = shared()[0]
    with torch.no_grad():
        model.alpha.copy_(alpha)
    genotype = model.genotype(argmax)
    chosen = [OPERATIONS.index(choice) for choice in genotype.values()]
    assert chosen == alpha.argmax(1).tolist()


@pytest.mark.parametrize(("column", "kept"), [(0, 0), (4, 28)])
def test_argmax_may_keep_no_edge_or_all_of_them(column, kept):
    model = supernet(SPACE, std=0.0)
    with torch.no_grad():
        model.alpha[:, column] = 1.0
    genotype = model.genotype(argmax)
    assert sum(choice != NONE for choice in genotype.values()) == kept
    assert logits(model, images(), model.at(genotype)).isfinite().all()


@pytest.mark.parametrize("rule", [argmax, magnitude])
def test_an_edge_that_is_decided_to_be_absent_stays_so_where_none_is_no_choice(rule):
    model = supernet(DartsSpace(**{**SETTINGS, "operations": OPERATIONS[1:]}))
    model.fixed.update({"normal/2-0": NONE, "normal/2-1": OPERATIONS[2]})
    genotype = model.genotype(rule)
    assert genotype["normal/2-0"] == NONE
    assert genotype["normal/2-1"] == OPERATIONS[2]


# Gradients of the alphas


def credits(model, x, labels, z):
    """c_k = <dL/dx_j, O_k(x_i)> for every edge and choice, summed over the cells of a type.

    The loss is linear in the map z_k O_k(x_i) of a candidate to first order, so c_k = dL/dz_k.
    """
    z = z.clone().requires_grad_()
    loss = F.cross_entropy(model.network(x, Mixture(z, ((1, 2, 3, 4),) * 10))[0], labels)
    return torch.autograd.grad(loss, z)[0]


@pytest.mark.parametrize("epoch", [0, 74, 149])
def test_the_alpha_gradient_of_snas_is_its_closed_form(epoch):
    """dL/dalpha_k = Z_k (c_k - sum_m Z_m c_m) / tau (1812.09926)."""
    model = supernet(relaxation=SNAS, mean=1.0, std=0.01).double()
    model.progress = (epoch + 1) / 150
    tau = 0.03 + 0.97 * (1 - (epoch + 1) / 150)
    x, labels = images().double(), torch.tensor([0, 1, 2, 3])
    torch.manual_seed(epoch)
    gumbel = -(-torch.rand_like(model.alpha).log()).log()
    powers = ((model.alpha.detach() + gumbel) / tau).exp()
    z = powers / powers.sum(1, keepdim=True)
    c = credits(model, x, labels, z)
    torch.manual_seed(epoch)
    F.cross_entropy(model(x)[0], labels).backward()
    expected = z * (c - (z * c).sum(1, keepdim=True)) / tau
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(model.alpha.grad, expected, rtol=1e-6, atol=1e-9)


def test_the_alpha_gradient_of_darts_is_that_of_a_softmax_mixture():
    model, x, labels = supernet().double(), images().double(), torch.tensor([0, 1, 2, 3])
    powers = model.alpha.detach().exp()
    p = powers / powers.sum(1, keepdim=True)
    c = credits(model, x, labels, p)
    F.cross_entropy(model(x)[0], labels).backward()
    expected = p * (c - (p * c).sum(1, keepdim=True))
    torch.testing.assert_close(model.alpha.grad, expected, rtol=1e-6, atol=1e-9)
