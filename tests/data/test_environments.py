"""A gymnasium environment's steps, over a stub that plays a script."""

import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from nasrun.data import environments
from nasrun.data.environments import DmControl, GymEnvironment, check_renderer


class Script:
    """Two actions from -2 .. 2 and 0 .. 4; rewards 1, 10, 100, ..., until the script's end."""

    action_space = SimpleNamespace(low=np.array([-2.0, 0.0]), high=np.array([2.0, 4.0]))

    def __init__(self, length=100, terminated=False, truncated=False):
        self.length, self.ends = length, (terminated, truncated)
        self.actions = []

    def step(self, action):
        self.actions.append(action.tolist())
        count = len(self.actions)
        terminated, truncated = self.ends if count == self.length else (False, False)
        return np.array([float(count)]), 10.0 ** (count - 1), terminated, truncated, {}


class Mujoco:
    """It is told where warnings go."""

    def __init__(self):
        self.told = []
        self.set_mju_user_warning = self.told.append


@pytest.fixture
def mujoco(monkeypatch):
    """A stub of MuJoCo, in its place."""
    stub = Mujoco()
    monkeypatch.setitem(sys.modules, "mujoco", stub)
    return stub


@pytest.fixture
def playing(monkeypatch, mujoco):
    """Episodes of a script."""

    def start(script, action_repeat):
        gymnasium = SimpleNamespace(make={"Script-v0": script}.__getitem__)
        monkeypatch.setitem(sys.modules, "gymnasium", gymnasium)
        return GymEnvironment(id="Script-v0", action_repeat=action_repeat).start()

    return start


def test_a_reward_is_the_sum_over_the_repeated_action(playing):
    script = Script()
    episodes = playing(script, 3)
    rests = np.zeros(2)
    assert [episodes.step(rests)[1:] for _ in range(2)] == [
        (111.0, False, False),
        (111000.0, False, False),
    ]
    seen = episodes.step(rests).observation
    assert seen.tolist() == [len(script.actions)] == [9]
    assert seen.dtype == np.float32


@pytest.mark.parametrize(("terminated", "truncated"), [(True, False), (False, True), (True, True)])
def test_an_action_ends_with_its_episode_which_time_alone_does_not_terminate(
    playing, terminated, truncated
):
    script = Script(length=2, terminated=terminated, truncated=truncated)
    step = playing(script, 5).step(np.zeros(2))
    assert len(script.actions) == 2
    assert step.observation.tolist() == [2]
    assert step.reward == 11
    assert step.terminated is terminated
    assert step.over is True


def test_actions_are_clipped_and_scaled_to_the_range_of_the_environment(playing):
    script = Script()
    episodes = playing(script, 1)
    for action in ([0.0, 0.0], [-1.0, 1.0], [0.5, -0.5], [7.0, -7.0]):
        episodes.step(np.array(action))
    assert script.actions == [[0.0, 2.0], [-2.0, 4.0], [1.0, 1.0], [2.0, 0.0]]


@pytest.mark.parametrize(("domain", "known"), [("walker", "run, walk"), ("worm", "hopper, walker")])
def test_an_unknown_task_is_refused_with_those_that_there_are(domain, known, monkeypatch):
    tasks = (("walker", "run"), ("walker", "walk"), ("hopper", "hop"))
    suite = SimpleNamespace(suite=SimpleNamespace(ALL_TASKS=tasks))
    monkeypatch.setitem(sys.modules, "dm_control", suite)
    monkeypatch.setattr(environments, "_need", lambda *packages: None)
    monkeypatch.setattr(environments, "check_renderer", lambda: None)
    made = DmControl(domain=domain, task="fly", action_repeat=2, size=8, stack=3, camera=0)
    with pytest.raises(ValueError, match=rf"dataset.task=fly: .* no such task; use one of {known}"):
        made.check()


def test_an_environment_that_cannot_be_made_is_refused_with_the_reason(monkeypatch, mujoco):
    def make(id):
        raise LookupError("there is none.\nSee the registry.")

    monkeypatch.setattr(environments, "_need", lambda *packages: None)
    monkeypatch.setitem(sys.modules, "gymnasium", SimpleNamespace(make=make))
    with pytest.raises(ValueError, match=r"dataset.id=X-v0: there is none; fix that, or name"):
        GymEnvironment(id="X-v0", action_repeat=1).check()


def test_a_screen_on_which_mujoco_cannot_draw_is_refused_without_a_variable(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setenv("DISPLAY", ":9")
    failed = SimpleNamespace(returncode=1, stderr="no display")
    monkeypatch.setattr(environments.subprocess, "run", lambda *command, **settings: failed)
    with pytest.raises(ValueError, match=r"^MUJOCO_GL is not set: .*\(no display\); try"):
        check_renderer()


def test_a_warning_of_mujoco_has_the_same_words_at_all_times_so_that_it_is_told_once(
    playing, mujoco
):
    playing(Script(), 1)
    (tell,) = mujoco.told
    words = "Inf in QACC at DOF 0. The simulation is unstable."
    for time in ("1.5000", "12.2500"):
        with pytest.warns(RuntimeWarning, match=f"^MuJoCo: {words}$"):
            tell(f"{words} Time = {time}.")
    with pytest.warns(DeprecationWarning, match="MuJoCo: compiler attribute .* is deprecated"):
        tell("compiler attribute 'settotalmass' is deprecated")


def test_an_environment_with_deprecated_settings_is_made_without_a_word_or_a_file(
    tmp_path, monkeypatch, capfd
):
    pytest.importorskip("gymnasium")
    pytest.importorskip("mujoco")
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)
        GymEnvironment(id="HalfCheetah-v5", action_repeat=1).start().reset(0)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
