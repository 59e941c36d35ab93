"""Differentiable strategies: a round, the changes by tuning, the effects of a mask."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from nasrun.config import build, compose, resolve
from nasrun.divergence import Diverged
from nasrun.ops import operation
from nasrun.strategies.curvature import Curvature
from nasrun.strategies.differentiable import Differentiable
from nasrun.strategies.levels import Bilevel, Switched, WeightsOnly
from nasrun.strategies.sdarts import RandomNoise, Smoothed
from nasrun.supernet.relaxation import Concrete
from nasrun.supernet.supernet import argmax, magnitude

SMALL = ["rounds=4", "width=2", "depth=3", "batch_size=16", "images=64", "space.nodes=1"]
SMALL += ["space.kept_edges=1", "space.operations=[none,max_pool_3x3,skip_connect,sep_conv_3x3]"]


@pytest.fixture
def begun(begin):
    """A strategy that has begun on a few digits."""
    return lambda *overrides: begin(*SMALL, *overrides)


def rounds(strategy, count):
    found = []
    for _ in range(count):
        found.append(strategy.run_round())
        strategy.round += 1
    return found


def snapshot(strategy):
    return {name: value.clone() for name, value in strategy.supernet.named_parameters()}


def rates(strategy):
    """Return the learning rates of the weights' optimizer."""
    return [group["lr"] for group in strategy.search.weight_optimizer.param_groups]


def test_the_weights_rate_follows_a_half_cosine_over_the_rounds(begun):
    strategy = begun("strategy=snas")
    for t in range(4):
        (metrics,) = rounds(strategy, 1)
        expected = 0.001 + (0.025 - 0.001) * (1 + math.cos(math.pi * t / 4)) / 2
        assert rates(strategy) == pytest.approx([expected])
        assert metrics["lr"] == pytest.approx(expected)


def test_the_temperature_reaches_its_end_in_the_last_round(begun, monkeypatch):
    strategy, seen = begun("strategy=snas"), []
    sample = type(strategy.relaxation).sample

    def watched(self, alpha, progress, noise):
        seen.append(self.tau(progress))
        return sample(self, alpha, progress, noise)

    monkeypatch.setattr(type(strategy.relaxation), "sample", watched)
    rounds(strategy, 4)
    taus = list(dict.fromkeys(round(tau, 9) for tau in seen))
    assert taus == pytest.approx([1 - 0.97 * part for part in (0.25, 0.5, 0.75, 1.0)])


def test_order_and_alphas_noise_depend_on_no_other_draws(begun, monkeypatch):
    seen, sample = [], Concrete.sample

    def watched(self, alpha, progress, noise):
        seen[-1].append(torch.rand(3, generator=noise.clone_state()).tolist())
        return sample(self, alpha, progress, noise)

    monkeypatch.setattr(Concrete, "sample", watched)
    orders = []
    for words in ((), ("strategy.drop_path=0.5",), ("task.augment.cutout=0.5",)):
        seen.append([])
        strategy = begun("strategy=snas", *words)
        batches = strategy.task.batches

        def ordered(split, size, order, changes, batches=batches):
            orders[-1].append(order.tolist())
            return batches(split, size, order, changes)

        orders.append([])
        strategy.task.batches = ordered
        strategy.run_round()
    assert seen[0] == seen[1] == seen[2]
    assert orders[0] == orders[1] == orders[2]


def test_a_round_is_one_pass_over_the_training_part(begun, monkeypatch):
    strategy, seen = begun(), []
    step = type(strategy.level).step

    def watched(self, search, train, val):
        seen.append((len(train[1]), len(val[1])))
        return step(self, search, train, val)

    monkeypatch.setattr(type(strategy.level), "step", watched)
    strategy.run_round()
    assert [train for train, _ in seen] == [16, 16, 16]  # 48 of 64 images, 16 for validation
    assert [val for _, val in seen] == [16, 16, 16]


@pytest.mark.parametrize(
    ("strategy", "fetched"),
    [("darts", [3]), ("snas", [0]), ("fixed_alpha", [0]), ("pcdarts", [0, 3])],
)
def test_validation_batches_are_fetched_for_the_levels_that_read_them(begun, strategy, fetched):
    """PC-DARTS's alphas rest in the first of four rounds."""
    strategy, seen = begun(f"strategy={strategy}"), []
    batches = strategy.task.batches

    def counted(split, *settings):
        for batch in batches(split, *settings):
            seen[-1] += split is strategy.validation
            yield batch

    strategy.task.batches = counted
    for _ in fetched:
        seen.append(0)
        rounds(strategy, 1)
    assert seen == fetched


def test_a_level_that_smooths_is_foreseen_to_train_the_whole_mixture(begin):
    big = [*SMALL, "width=16", "strategy=gdas"]
    strategy = begin(*big)
    single = strategy.foreseen_bytes()
    strategy.level = Smoothed(neighbour=RandomNoise(), eps_start=0.0, eps_end=0.1)
    assert strategy.foreseen_bytes() == strategy.shapes().step({}, 16, 16) > single


def test_no_more_images_are_foreseen_to_be_measured_than_there_are(begun):
    few, more = begun(), begun("images=128")
    assert (len(few.validation), len(more.validation)) == (16, 32)
    assert few.foreseen_bytes() == few.shapes().step({}, 16, 16)
    assert more.foreseen_bytes() == more.shapes().step({}, 16, 32)


def test_all_data_train_where_the_released_code_of_snas_did_so(begun, monkeypatch, tmp_path):
    strategy, seen = begun("strategy=snas", "strategy.data=all"), []
    step = type(strategy.level).step

    def watched(self, search, train, val):
        seen.append(len(train[1]))
        return step(self, search, train, val)

    monkeypatch.setattr(type(strategy.level), "step", watched)
    strategy.run_round()
    assert sum(seen) == 64
    assert len(strategy.validation) == 16
    folder = SimpleNamespace(metrics=list, path=tmp_path, write=lambda name, content: None)
    assert strategy.finish(folder)["trained_on"] == "train+validation"
    assert begun().finish(folder)["trained_on"] == "train"


@pytest.mark.parametrize("what", ["weights", "alphas", "buffers"])
def test_a_search_that_diverged_ends_before_its_round_is_kept(begun, what):
    strategy = begun()
    supernet = strategy.supernet
    of = {
        "weights": supernet.weights(),
        "alphas": supernet.alphas(),
        "buffers": [b for b in supernet.network.buffers() if b.is_floating_point()],
    }[what]
    with torch.no_grad():
        of[0].fill_(math.nan)
    with pytest.raises(
        Diverged, match=r"the search diverged \(train_loss .*; use a smaller weight_op"
    ):
        strategy.run_round()
    assert not strategy.history.records


def test_alphas_and_weights_move(begun):
    strategy = begun()
    before = snapshot(strategy)
    strategy.run_round()
    changed = [n for n, value in strategy.supernet.named_parameters() if (value != before[n]).any()]
    assert "alpha" in changed
    assert len(changed) > len(before) * 0.9


def test_entropies_and_changes_are_those_of_the_alphas(begun):
    strategy = begun()
    before = strategy.supernet.genotype(argmax)
    (metrics,) = rounds(strategy, 1)
    after = strategy.supernet.genotype(argmax)
    p = torch.softmax(strategy.supernet.alpha.detach().double(), dim=1)
    entropy = -(p * p.log()).sum(1)
    assert metrics["entropy_normal"] == pytest.approx(float(entropy[:2].sum()), rel=1e-5)
    assert metrics["entropy_reduce"] == pytest.approx(float(entropy[2:].sum()), rel=1e-5)
    assert metrics["changed_edges"] == sum(before[name] != after[name] for name in after)


def test_validation_changes_nothing_and_is_the_same_again(begun):
    strategy = begun("strategy=snas")
    rounds(strategy, 1)
    state = {name: value.clone() for name, value in strategy.supernet.network.state_dict().items()}
    generator = torch.get_rng_state()
    first, second = strategy.validate(), strategy.validate()
    (masked,) = strategy.masked([("normal/2-0", "sep_conv_3x3")])
    assert first == second
    assert masked != first
    assert strategy.validate() == first
    assert torch.equal(torch.get_rng_state(), generator)
    for name, value in strategy.supernet.network.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_tuning_is_at_a_constant_rate_with_fresh_momentum(begun):
    strategy = begun()
    rounds(strategy, 4)
    old = strategy.search
    assert any("momentum_buffer" in state for state in old.weight_optimizer.state.values())
    steps = [state["step"].clone() for state in old.alpha_optimizer.state.values()]
    strategy.tune(0.125)
    assert not strategy.search.weight_optimizer.state
    assert [state["step"] for state in strategy.search.alpha_optimizer.state.values()] == steps
    for _ in range(2):
        strategy.run_round()
        assert rates(strategy) == [0.125]


def test_tuning_after_an_early_stop_is_at_the_end_of_all_schedules(begun):
    strategy = begun()
    rounds(strategy, 1)
    assert strategy.supernet.progress == 0.25
    strategy.tune(0.125)
    strategy.run_round()
    assert strategy.supernet.progress == 1.0


def test_fixed_decisions_are_kept_by_the_state(begun):
    strategy, other = begun(), begun()
    strategy.supernet.fixed["normal/2-0"] = "skip_connect"
    rounds(strategy, 1)
    other.load_state_dict(strategy.state_dict())
    assert other.supernet.fixed == {"normal/2-0": "skip_connect"}
    assert torch.equal(other.supernet.alpha, strategy.supernet.alpha)


@pytest.mark.parametrize(("strategy", "adds"), [("gdas", True), ("milenas_gumbel", False)])
def test_only_the_released_cell_of_gdas_adds_operations_that_are_not_drawn(begin, strategy, adds):
    words = ["space=nasbench201", "width=2", "depth=3", "batch_size=16", "images=64"]
    supernet = begin(f"strategy={strategy}", *words).supernet.train()
    assert (supernet.mixture().rest is not None) == adds


def test_drop_path_drops_in_training_only(begun):
    strategy = begun("strategy.drop_path=0.9")
    images = next(iter(strategy.validation.batches(8)))[0]
    strategy.supernet.train()
    torch.manual_seed(0)
    dropped = [strategy.supernet(images)[0] for _ in range(2)]
    assert not torch.allclose(*dropped)
    strategy.supernet.eval()
    kept = [strategy.supernet(images)[0] for _ in range(2)]
    assert torch.equal(*kept)


# Options of the family


def test_alphas_rest_in_pcdartss_warm_up_and_move_after_it(begun):
    strategy = begun("strategy=pcdarts")  # four rounds: the first lies within 0.3 of them
    before = snapshot(strategy)
    first, second = rounds(strategy, 2)
    assert "alpha_loss" not in first
    assert "alpha_loss" in second
    after = snapshot(strategy)
    for name in ("alpha", "beta"):
        assert not torch.equal(after[name], before[name])
    begun_again = begun("strategy=pcdarts")
    rounds(begun_again, 1)
    for name in ("alpha", "beta"):
        assert torch.equal(snapshot(begun_again)[name], before[name])


def test_a_switch_follows_the_rounds_of_the_search_and_stays_behind_in_tuning(begun):
    strategy = begun("strategy=pcdarts")
    rounds(strategy, 4)
    strategy.tune(0.01)
    assert "alpha_loss" in strategy.run_round()


def test_partial_channels_make_the_candidates_of_the_search_network_narrow(begun):
    sizes = {}
    for parts in (1, 2):
        strategy = begun("width=4", f"strategy.partial_channels={parts}")
        sizes[parts] = {
            name: tuple(value.shape)
            for name, value in strategy.supernet.network.named_parameters()
            if "sep_conv_3x3.first.depthwise" in name
        }
    assert set(sizes[1].values()) == {(4, 1, 3, 3), (8, 1, 3, 3), (16, 1, 3, 3)}
    assert set(sizes[2].values()) == {(2, 1, 3, 3), (4, 1, 3, 3), (8, 1, 3, 3)}


def test_parts_that_do_not_divide_the_search_networks_channels_are_refused(begun):
    with pytest.raises(
        ValueError, match=r"strategy\.partial_channels=3: use a divisor .* 2 channels"
    ):
        begun("strategy.partial_channels=3")
    with pytest.raises(ValueError, match=r"^strategy\.inner\.partial_channels=3: use a divisor"):
        begun("strategy=sgas", "strategy.inner.partial_channels=3")


def test_alphas_that_never_move_have_no_penalty_and_no_watchdog(begun):
    decay = "strategy.penalty={_target_: nasrun.strategies.penalties.BetaDecay, weight: 3.0}"
    with pytest.raises(ValueError, match=r"^strategy\.penalty: has no effect, no alpha moves"):
        begun("strategy=fixed_alpha", decay)
    strategy = begun("strategy=fixed_alpha", "rounds=4")
    rounds(strategy, 4)
    assert "alarms" not in strategy.history.report()


@pytest.mark.parametrize("name", ["darts_2nd", "milenas_2nd"])
def test_the_second_order_is_that_of_fp32_and_only_the_weights_step_in_bf16(begun, name):
    found = []
    for precision in ("fp32", "bf16"):
        strategy = begun(f"strategy={name}")
        strategy.budget.resolved["precision"] = precision
        order = torch.arange(len(strategy.train))
        train = next(iter(strategy.task.batches(strategy.train, 16, order)))
        level = getattr(strategy.level, "unrolled", strategy.level)
        ((gradient, _),) = level.hypergradients(strategy.search, train, train)
        found.append((gradient, strategy.search.weights_loss(train).item()))
    (in_fp32, loss), (in_bf16, other) = found
    assert all(torch.equal(a, b) for a, b in zip(in_fp32, in_bf16, strict=True))
    assert loss != other


def test_a_part_in_fp32_takes_the_memory_of_fp32(begun):
    need = {}
    for name in ("darts", "darts_2nd", "curved"):
        for precision in ("fp32", "bf16"):
            strategy = begun(f"strategy={name.replace('curved', 'darts')}")
            if name == "curved":
                strategy.curvature = Curvature(images=16)
            strategy.budget.resolved["precision"] = precision
            need[name, precision] = strategy.foreseen_bytes()
    assert need["darts", "bf16"] < need["darts", "fp32"]
    assert need["darts_2nd", "bf16"] == need["darts_2nd", "fp32"]
    assert need["curved", "bf16"] == need["curved", "fp32"]


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("+strategy.weight_optimizer.nesterov=true", "weight_optimizer.nesterov=True: an unrolled"),
        ("+strategy.weight_optimizer.dampening=0.5", "weight_optimizer.dampening=0.5: an unrolled"),
        ("strategy.weight_optimizer=adam", "weight_optimizer=Adam: an unrolled level needs SGD"),
    ],
)
def test_an_optimizer_that_an_unrolled_level_cannot_follow_is_refused_first(begun, setting, text):
    with pytest.raises(ValueError, match=f"^strategy\\.{text}"):
        begun("strategy=darts_2nd", setting)


def test_the_entropy_of_edges_with_weights_is_that_of_their_choices(begun):
    strategy = begun("strategy=pcdarts")
    (metrics,) = rounds(strategy, 1)
    p = torch.softmax(strategy.supernet.alpha.detach().double(), dim=1)
    entropy = -(p * p.log()).sum(1)
    assert metrics["entropy_normal"] == pytest.approx(float(entropy[:2].sum()), rel=1e-5)


def test_the_second_order_works_where_operations_are_sampled_and_edges_have_weights(begun):
    strategy = begun("strategy=milenas_2nd", "strategy.beta_std=1e-3", "rounds=1")
    before = snapshot(strategy)
    rounds(strategy, 1)
    for name in ("alpha", "beta"):
        assert not torch.equal(snapshot(strategy)[name], before[name])


# History


def test_every_round_of_a_search_is_recorded_with_what_magnitude_reads(begun):
    strategy = begun()
    found = rounds(strategy, 3)
    records = strategy.history.records
    assert [one.round for one in records] == [1, 2, 3]
    assert records[-1].genotype == strategy.supernet.genotype(magnitude)
    for metrics, one in zip(found, records, strict=True):
        assert one.accuracy == metrics["validation_accuracy"]
        assert metrics["params"] == one.params
        assert (metrics["size_normal"], metrics["size_reduce"]) == one.size


def test_tuning_on_a_finished_search_adds_no_rounds_to_its_history(begun):
    strategy = begun()
    rounds(strategy, 4)
    before = strategy.history.state_dict()
    strategy.tune(0.01)
    strategy.run_round()
    assert strategy.history.state_dict() == before


def smaller_and_smaller(strategy, sizes):
    """Make every round end with alphas that read as so many convolutions: normal, reduce."""
    epoch = strategy._epoch

    def shrinking():
        losses = epoch()
        normal, reduce = sizes[strategy.round]
        with torch.no_grad():
            strategy.supernet.alpha.fill_(0.0)
            for row, convolution in enumerate([normal, 0, reduce, 0]):
                strategy.supernet.alpha[row, 3 if convolution else 1] = 5.0 - row % 2
        return losses

    strategy._epoch = shrinking


STOP = "strategy.stop={_target_: nasrun.strategies.history.StopAtSize, size: [0, 1], patience: 1}"


def test_a_search_stops_below_its_target_and_says_so_after_a_restart(begun):
    strategy = begun(STOP)
    smaller_and_smaller(strategy, [(1, 1), (1, 0), (0, 0), (0, 0)])
    done = 0
    while not strategy.done:
        rounds(strategy, 1)
        done += 1
    assert done == 3
    assert strategy.stopped == "stopped after round 3: size [0, 0], asked for [0, 1]"
    other = begun(STOP)
    other.load_state_dict(strategy.state_dict())
    other.round = strategy.round
    assert other.done
    assert other.stopped == strategy.stopped


def test_a_watchdog_may_stop_a_search(begun):
    strategy = begun("strategy.watchdog.on_collapse=stop", "strategy.watchdog.patience=1")
    smaller_and_smaller(strategy, [(1, 1), (0, 0)])
    rounds(strategy, 1)
    assert not strategy.done
    with pytest.warns(UserWarning, match="round 2: the search collapses"):
        rounds(strategy, 1)
    assert strategy.done
    assert strategy.stopped.startswith("stopped after round 2")


def test_a_search_leaves_its_history_and_frontier_behind(begun, tmp_path):
    strategy = begun(STOP, "strategy.watchdog.patience=1")
    smaller_and_smaller(strategy, [(1, 1), (0, 0)])
    with pytest.warns(UserWarning, match="collapses"):
        rounds(strategy, 2)
    written = {}
    folder = SimpleNamespace(
        path=tmp_path, metrics=list, write=lambda name, content: written.update({name: content})
    )
    result = strategy.finish(folder)
    assert [one["round"] for one in written["history.json"]] == [1, 2]
    assert written["history.json"] == strategy.state_dict()["history"]
    assert result["stopped"] == strategy.stopped
    assert len(result["alarms"]) == 1
    assert [one["size"] for one in result["sizes"]] == [[0, 0], [1, 1]]
    assert (tmp_path / "frontier.png").exists()


@pytest.mark.parametrize(
    "setting",
    [
        "rounds=0",
        "batch_size=1",
        "drop_path=1.0",
        "drop_path=-0.1",
        "weight_clip=0.0",
        "alpha_clip=-1.0",
        "alpha_std=-1.0",
        "beta_std=-1.0",
        "partial_channels=0",
    ],
)
def test_impossible_values_are_refused(setting):
    node = resolve(compose([f"strategy.{setting}"]).config["strategy"])
    with pytest.raises(ValueError, match=rf"^strategy\.{setting}"):
        build(node, "strategy")


@pytest.mark.parametrize(("at", "rounds"), [(0.3, 10), (0.29, 100), (0.25, 10), (0.7, 50)])
def test_each_phase_of_a_level_is_rehearsed_where_it_begins(at, rounds):
    """0.29 * 100 is less than 29: the round after the change is meant all the same."""
    level = Switched(first=WeightsOnly(), then=Bilevel(), at=at)
    search = SimpleNamespace(level=level, rounds=rounds, round=None, play=None, validate=None)
    seen = [(search.round, kind.rounds) for kind in Differentiable.rehearsals(search)]
    (first, many), (then, others) = seen
    assert first == 0
    assert many + others == pytest.approx(rounds)
    assert then / rounds <= at + 0.5 / rounds
    assert (then + 1) / rounds > at  # the progress by which `Switched` decides


class Softplus(torch.nn.Module):
    """A rectifier without a kink."""

    def forward(self, x):
        return F.softplus(x)


def test_in_single_precision_a_hypergradient_is_exact_to_a_few_millionths(begin, monkeypatch):
    """Nothing jumps here; at a kink the last bit of a map decides, in released codes too."""
    monkeypatch.setattr("nasrun.ops.state.RELU", Softplus())
    monkeypatch.setattr(operation, "MANY", 2**15)  # maps of a few cells fold as those of many do
    smooth = "[none,avg_pool_3x3,skip_connect,sep_conv_3x3,dil_conv_3x3]"
    words = ["strategy=darts_2nd", "depth=3", "space.nodes=2", f"space.operations={smooth}"]
    strategy = begin(*words)
    strategy.supernet.train()
    images, labels, _ = next(strategy.task.batches(strategy.train, 64, torch.arange(64)))
    state = copy.deepcopy(strategy.state_dict())
    layouts = [w.stride() for w in strategy.search.weights]

    def hypergradient(precision):
        strategy.load_state_dict(copy.deepcopy(state))
        strategy.supernet.to(precision)
        x = images.to(precision)
        batches = (x[:32], labels[:32]), (x[32:], labels[32:])
        (((found,), _),) = strategy.level.hypergradients(strategy.search, *batches)
        return found.double()

    found = hypergradient(torch.float32)
    assert [w.stride() for w in strategy.search.weights] == layouts
    expected = hypergradient(torch.float64)
    assert (found - expected).norm() < 3e-6 * expected.norm()
