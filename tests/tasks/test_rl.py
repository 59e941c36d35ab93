"""DrQ-v2's learner: an update by hand, shifts, noise, and a state that loses nothing."""

import math
from dataclasses import replace
from functools import partial
from math import tanh

import numpy as np
import pytest
import torch

from nasrun.budget import Budget
from nasrun.data.environments import Environment, Episodes, GymEnvironment, Transition
from nasrun.networks import ActorCritic
from nasrun.spaces.drqv2 import DrqSpace, Pixels, Vector
from nasrun.tasks.rl import Control, shifted

BUDGET = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
SPACE = DrqSpace(encoder=Vector(hidden=8), hidden=8, feature_dims=(4, 8))
CONTROL = partial(
    Control,
    interval=60,
    random_steps=20,
    update_every=2,
    batch_size=8,
    n_step=3,
    discount=0.99,
    target_rate=0.01,
    first_noise=1.0,
    last_noise=0.1,
    noise_steps=100,
    noise_clip=0.3,
    pad=0,
    replay=500,
    episodes=1,
    test_episodes=1,
    optimizer=partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.0),
)


class Line(Environment):
    """A point on a line, pushed by actions and paid for where it is; beyond 1 it has fallen."""

    name, action_repeat, pixels, stack, side_by_side = "line", 1, False, 1, 2

    def check(self):
        pass

    def look(self, watched):
        pass

    def contents(self):
        return None

    def start(self):
        return Point()

    def shapes(self):
        return (1,), 1


class Point(Episodes):
    """The seed draws the start; an episode is cut after five steps."""

    def reset(self, seed):
        self.place = np.random.default_rng(seed).uniform(-1, 1, 1).astype(np.float32)
        self.left = 5
        return self.place

    def step(self, action):
        self.place, self.left = self.place + action / 2, self.left - 1
        fallen = bool(abs(self.place[0]) > 1)
        return Transition(self.place, float(self.place[0]), fallen, fallen or not self.left)

    def frame(self):
        raise RuntimeError


def control(environment, **changes):
    made = CONTROL(**changes)
    made.begin(environment, BUDGET)
    return made


@pytest.fixture
def task():
    return control(Line())


def learner(task, seed=0):
    torch.manual_seed(seed)
    genotype = SPACE.sample(torch.Generator().manual_seed(0))
    return task.learner(SPACE.network(genotype, inputs=task.inputs, outputs=task.outputs))


class Scalars(ActorCritic):
    """Encoder ws, actor tanh(ue) and critics ce + da, all of one number."""

    def __init__(self):
        super().__init__()
        self.encoder, self.critic = Scalar(0.5), Twin((1.0, 0.6), (-0.8, 0.3))
        self.actor = torch.nn.Sequential(Scalar(-0.7), torch.nn.Tanh())


class Scalar(torch.nn.Linear):
    def __init__(self, *weights):
        super().__init__(len(weights), 1, bias=False)
        self.weight.data = torch.tensor([weights])

    def numbers(self):
        return self.weight[0].tolist()


class Twin(torch.nn.ModuleList):
    def __init__(self, first, second):
        super().__init__([Scalar(*first), Scalar(*second)])

    def forward(self, encoded, action):
        return tuple(each(torch.cat([encoded, action], dim=1)) for each in self)


@pytest.fixture
def updated():
    """Return the draws of an update without noise, and the agent and its losses after it."""
    made = control(
        Line(),
        random_steps=60,
        batch_size=32,
        first_noise=0.0,
        last_noise=0.0,
        optimizer=partial(torch.optim.SGD, lr=0.1),
    )
    torch.manual_seed(0)
    one = made.learner(Scalars())
    one.train_interval()
    one.target.load_state_dict(Twin((0.4, -0.9), (0.9, 0.5)).state_dict())
    torch.manual_seed(1)
    drawn = [part.flatten().tolist() for part in one.replay.draw(32, 3, 0.99)]
    torch.manual_seed(1)
    losses = [float(loss) for loss in one._update()]
    return list(zip(*drawn, strict=True)), one, losses


def test_nothing_is_expected_after_a_fall_but_after_the_time_limit_there_is(updated):
    drawn, *_ = updated
    assert all((discount == 0) == (abs(then) > 1) for *_, discount, then in drawn)
    discounts = {round(discount, 4) for *_, discount, _ in drawn}
    assert discounts == {0.0, 0.99, 0.9801, 0.9703}  # one or two steps: the time was over


def test_the_critic_and_the_encoder_descend_to_the_smaller_target_value(updated):
    drawn, one, (found, _) = updated
    loss, of_encoder, of_critic = 0.0, 0.0, [[0.0, 0.0], [0.0, 0.0]]
    for seen, action, reward, discount, then in drawn:
        encoded, after = 0.5 * seen, 0.5 * then
        best = tanh(-0.7 * after)
        wanted = reward + discount * min(0.4 * after - 0.9 * best, 0.9 * after + 0.5 * best)
        for head, (c, d) in enumerate([(1.0, 0.6), (-0.8, 0.3)]):
            error = c * encoded + d * action - wanted
            loss += error**2 / 32
            of_encoder += 2 * error * c * seen / 32
            of_critic[head][0] += 2 * error * encoded / 32
            of_critic[head][1] += 2 * error * action / 32
    assert found == pytest.approx(loss, rel=1e-5)
    assert one.encoder.numbers() == pytest.approx([0.5 - 0.1 * of_encoder], rel=1e-5)
    (c1, d1), (c2, d2) = of_critic
    first, second = one.critic
    assert first.numbers() == pytest.approx([1.0 - 0.1 * c1, 0.6 - 0.1 * d1], rel=1e-5)
    assert second.numbers() == pytest.approx([-0.8 - 0.1 * c2, 0.3 - 0.1 * d2], rel=1e-5)


def test_the_actor_ascends_the_smaller_value_that_the_new_critic_gives_its_actions(updated):
    drawn, one, (_, found) = updated

    def value(encoded, u):
        heads = [each.numbers() for each in one.critic]
        return min((c * encoded + d * tanh(u * encoded), d) for c, d in heads)

    total, gradient = 0.0, 0.0
    for seen, *_ in drawn:
        encoded = 0.5 * seen  # by the encoder before its step
        smaller, d = value(encoded, -0.7)
        total += smaller / 32
        gradient += d * (1 - tanh(-0.7 * encoded) ** 2) * encoded / 32
    assert found == pytest.approx(-total, rel=1e-5)
    (u,) = one.actor[0].numbers()
    assert u == pytest.approx(-0.7 + 0.1 * gradient, rel=1e-5)
    assert sum(value(0.5 * seen, u)[0] for seen, *_ in drawn) / 32 > total


@pytest.mark.parametrize("environment", ["line", "mujoco"])
def test_a_state_loses_nothing_and_the_noise_goes_on(environment):
    if environment == "line":
        task = control(Line())
    else:
        pytest.importorskip("gymnasium")
        pytest.importorskip("mujoco")
        task = control(GymEnvironment(id="InvertedDoublePendulum-v5", action_repeat=1))
    first = learner(task)
    first.train_interval()
    again = learner(task, seed=9)
    again.load(first.trained())
    assert again.noise == first.noise == pytest.approx(1 - 0.9 * 60 / 100)
    results = []
    for one in (first, again):
        torch.manual_seed(3)
        results.append((one.train_interval(), one.evaluate()))
    assert results[0] == results[1]
    assert first.steps == 120
    assert first.noise == pytest.approx(0.1)


def test_an_update_moves_the_target_by_its_rate(task):
    one = learner(task)
    one.train_interval()
    before = [p.clone() for p in one.target.parameters()]
    one._update()
    moved = zip(before, one.critic.parameters(), one.target.parameters(), strict=True)
    for start, fast, slow in moved:
        torch.testing.assert_close(slow, 0.99 * start + 0.01 * fast)


def test_an_agent_that_only_acts_holds_no_replay_buffer_and_loses_none(task, tmp_path):
    first = learner(task)
    first.train_interval()
    trained = first.trained()
    again = learner(task, seed=9)
    again.load(trained)
    again.evaluate()
    again.show(tmp_path / "best")
    assert "replay" not in vars(again)
    kept = again.trained().memory["replay"]
    for name, part in trained.memory["replay"].items():
        assert torch.equal(torch.as_tensor(part), torch.as_tensor(kept[name])), name


def test_looking_changes_nothing(task):
    one = learner(task)
    before = {name: t.clone() for name, t in one.network.state_dict().items()}
    one.evaluate()
    after = one.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_pixels_need_another_space_and_task(task):
    pixels = DrqSpace(encoder=Pixels(channels=2, size=12), hidden=8, feature_dims=(4,))
    network = pixels.network(pixels.sample(), inputs=9, outputs=task.outputs)
    with pytest.raises(ValueError, match="use space=drqv2_state"):
        task.check(network)
    action = network(torch.zeros(2, 9, 12, 12, dtype=torch.uint8))
    assert action.shape == (2, task.outputs)


def test_short_numbers_are_refused_since_agents_do_not_use_them():
    with pytest.raises(ValueError, match=r"budget\.precision=bf16: agents learn in fp32; use fp32"):
        CONTROL().begin(Line(), replace(BUDGET, precision="bf16"))


class BrokenDriver(Exception):
    """As MuJoCo's `FatalError`, which is no `RuntimeError`."""


def test_a_picture_that_cannot_be_drawn_ends_nothing(task, tmp_path, monkeypatch):
    def fail(self):
        raise BrokenDriver

    monkeypatch.setattr(Point, "frame", fail)
    assert learner(task).show(tmp_path / "best") == ["best_returns.png"]


def test_an_image_is_shifted_by_whole_pixels_and_its_edge_repeated():
    torch.manual_seed(0)
    images = torch.arange(2 * 1 * 6 * 6.0).view(2, 1, 6, 6)
    for original, moved in zip(images, shifted(images, 2), strict=True):
        fits = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                rows = (torch.arange(6) + down).clamp(0, 5)
                columns = (torch.arange(6) + right).clamp(0, 5)
                fits.append(torch.equal(moved[0], original[0][rows][:, columns]))
        assert sum(fits) == 1


def test_an_agent_that_diverged_ends_its_interval_before_an_environment_gets_no_number(task):
    agent = learner(task)
    with torch.no_grad():
        next(agent.actor.parameters()).fill_(float("nan"))
    metrics = agent.train_interval()
    assert agent.steps == task.random_steps
    assert not agent.replay.draw(8, 1, 0.9)[1].isnan().any()
    assert all(math.isnan(loss) for loss in metrics.values())  # so it counts as diverged


def test_returns_that_are_no_numbers_have_no_deviation(task, monkeypatch):
    monkeypatch.setattr("nasrun.tasks.rl.earned", lambda started, act: [math.inf] * len(started))
    assert learner(task)._mean_return(None, 2) == {"return": math.inf, "return_std": 0.0}
