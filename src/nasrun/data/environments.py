"""Environments (extra `rl`): gymnasium's MuJoCo tasks with states, dm_control's with pixels.

They work with mujoco 3; mujoco 4.0 breaks dm_control 1.0.50.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from abc import ABC, abstractmethod
from collections import deque
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nasrun.data.base import Data, Watched
from nasrun.data.pixels import refuse_too_large

Observation = NDArray[Any]
RENDERERS = ("egl", "osmesa", "glfw")


class Transition(NamedTuple):
    """The result of an action; `terminated`: no further reward, `over`: the episode ends."""

    observation: Observation
    reward: float
    terminated: bool
    over: bool


class Episodes(ABC):
    """A running environment; actions are (n,) in -1 .. 1."""

    @abstractmethod
    def reset(self, seed: int) -> Observation:
        """Start an episode that depends only on the seed."""

    @abstractmethod
    def step(self, action: Observation) -> Transition:
        """Act, with the environment's action repeat."""

    @abstractmethod
    def frame(self) -> Observation:
        """Return a picture (H, W, 3) uint8 of the current state; RuntimeError if impossible."""


class Environment(Data):
    """An environment for an agent."""

    words = "an environment"

    name: str
    action_repeat: int
    pixels: bool
    stack: int
    """Number of frames in an observation, the newest last."""
    side_by_side: int = 1
    """Number of episodes that are played at a time without noise: one pass acts in all of them.

    Each of them is an environment of its own, with its renderer.
    """

    @abstractmethod
    def start(self) -> Episodes:
        """Return the running environment."""

    @abstractmethod
    def shapes(self) -> tuple[tuple[int, ...], int]:
        """Return the shape of an observation and the number of values of an action."""


class GymEnvironment(Environment):
    """A gymnasium environment with continuous actions and states, such as `id` Hopper-v5."""

    pixels = False
    stack = 1
    side_by_side = 10  # ours: a small agent's pass takes as long as five to ten steps of MuJoCo

    def __init__(self, *, id: str, action_repeat: int) -> None:
        if action_repeat < 1:
            raise ValueError(f"action_repeat={action_repeat}: use at least 1")
        self.id = self.name = id
        self.action_repeat = action_repeat

    def check(self) -> None:
        _need("gymnasium", "mujoco")
        try:
            _made(self.id).close()
        except Exception as error:  # required packages may be missing or too new
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"dataset.id={self.id}: {reason.rstrip('.')}; fix that, or name another environment"
            ) from error

    def look(self, watched: Watched) -> None:
        """Do nothing, since it has no files."""

    def contents(self) -> None:
        """Return `None`, since its settings define it."""

    def start(self) -> Episodes:
        return GymEpisodes(self.id, self.action_repeat)

    def shapes(self) -> tuple[tuple[int, ...], int]:
        import gymnasium

        environment = _made(self.id)
        seen, act = environment.observation_space, environment.action_space
        environment.close()
        if not isinstance(act, gymnasium.spaces.Box) or seen.shape is None or len(act.shape) != 1:
            raise ValueError(
                f"dataset.id={self.id}: its actions are not one vector of numbers; use another"
            )
        return tuple(seen.shape), act.shape[0]


class GymEpisodes(Episodes):
    """A gymnasium environment whose actions are scaled to its range."""

    def __init__(self, id: str, action_repeat: int) -> None:
        self.id, self.action_repeat = id, action_repeat
        self.environment = _made(id)
        space: Any = self.environment.action_space
        self.low, self.high = space.low, space.high
        self.painter: Any = None

    def reset(self, seed: int) -> Observation:
        observation, _ = self.environment.reset(seed=seed)
        return np.asarray(observation, dtype=np.float32)

    def step(self, action: Observation) -> Transition:
        scaled = self.low + (np.clip(action, -1, 1) + 1) / 2 * (self.high - self.low)
        total, terminated, truncated = 0.0, False, False
        observation: Any = None
        for _ in range(self.action_repeat):
            observation, reward, terminated, truncated, _ = self.environment.step(scaled)
            total += float(reward)
            if terminated or truncated:
                break
        seen = np.asarray(observation, dtype=np.float32)
        return Transition(seen, total, terminated, terminated or truncated)

    def frame(self) -> Observation:
        import mujoco

        inner: Any = self.environment.unwrapped
        if not _can_render():
            raise RuntimeError("MuJoCo cannot render here")
        if self.painter is None:
            self.painter = mujoco.Renderer(inner.model, 240, 320)
        self.painter.update_scene(inner.data, camera=0 if inner.model.ncam else -1)
        return self.painter.render()


class DmControl(Environment):
    """A dm_control task with pixels: `stack` frames of `size` pixels, stacked along channels.

    `camera` is the index of one of the task's cameras.
    """

    pixels = True

    def __init__(
        self, *, domain: str, task: str, action_repeat: int, size: int, stack: int, camera: int
    ) -> None:
        for key, value in (("action_repeat", action_repeat), ("size", size), ("stack", stack)):
            if value < 1:
                raise ValueError(f"{key}={value}: use at least 1")
        if camera < 0:
            raise ValueError(f"camera={camera}: use 0 or more")
        self.domain, self.task = domain, task
        self.name = f"{domain}_{task}"
        self.action_repeat = action_repeat
        self.size = size
        self.stack = stack
        self.camera = camera

    def check(self) -> None:
        refuse_too_large(self.stack, 3, self.size)
        _need("dm_control", "mujoco")
        check_renderer()
        from dm_control import suite

        if (self.domain, self.task) not in suite.ALL_TASKS:
            tasks = [task for domain, task in suite.ALL_TASKS if domain == self.domain]
            domains = {domain for domain, _ in suite.ALL_TASKS}
            raise ValueError(
                f"dataset.domain={self.domain} dataset.task={self.task}: dm_control has no such "
                f"task; use one of {', '.join(tasks or sorted(domains))}"
            )

    def look(self, watched: Watched) -> None:
        """Do nothing, since it has no files."""

    def contents(self) -> None:
        """Return `None`, since its settings define it."""

    def start(self) -> Episodes:
        return DmEpisodes(self)

    def shapes(self) -> tuple[tuple[int, ...], int]:
        from dm_control import suite

        actions = suite.load(self.domain, self.task).action_spec().shape[0]
        return (3 * self.stack, self.size, self.size), actions


class DmEpisodes(Episodes):
    """A dm_control task, loaded again for every episode, since the seed is set on loading."""

    def __init__(self, settings: DmControl) -> None:
        self.settings = settings
        self.frames: deque[Observation] = deque(maxlen=settings.stack)

    def reset(self, seed: int) -> Observation:
        from dm_control import suite

        random = {"random": seed % 2**32}
        self.environment = suite.load(self.settings.domain, self.settings.task, task_kwargs=random)
        specification = self.environment.action_spec()
        self.low, self.high = specification.minimum, specification.maximum
        self.environment.reset()
        self.frames.clear()
        return self._seen(self.settings.stack)

    def step(self, action: Observation) -> Transition:
        scaled = self.low + (np.clip(action, -1, 1) + 1) / 2 * (self.high - self.low)
        total, last = 0.0, None
        for _ in range(self.settings.action_repeat):
            last = self.environment.step(scaled)
            total += float(last.reward or 0)
            if last.last():
                break
        assert last is not None
        return Transition(self._seen(1), total, last.last() and last.discount == 0, last.last())

    def _seen(self, times: int) -> Observation:
        settings = self.settings
        side = settings.size
        image = self.environment.physics.render(side, side, camera_id=settings.camera)
        self.frames.extend([image.transpose(2, 0, 1).copy()] * times)
        return np.concatenate(self.frames)

    def frame(self) -> Observation:
        return self.environment.physics.render(240, 320, camera_id=self.settings.camera)


def _made(id: str) -> Any:
    """Return a gymnasium environment, whose MuJoCo warns as Python does."""
    import gymnasium
    import mujoco

    mujoco.set_mju_user_warning(_warn)
    return gymnasium.make(id)


def _warn(text: str) -> None:
    """Warn as Python does, once per matter; MuJoCo prints each time and writes a file there.

    Deprecated settings are gymnasium's, so Python, which usually hides such warnings, decides.
    """
    matter, *_ = text.split(" Time =")
    category = DeprecationWarning if "deprecated" in matter else RuntimeWarning
    warnings.warn(f"MuJoCo: {matter}", category, stacklevel=2)


def _need(*packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ValueError(f"dataset: {missing[0]} is not installed, pip install 'nasrun[rl]'")


def _can_render() -> bool:
    return bool(os.environ.get("MUJOCO_GL") or os.environ.get("DISPLAY"))


def check_renderer() -> None:
    """Raise ValueError if MuJoCo cannot render.

    A separate process tries it, since a broken driver may crash the process.
    """
    name = os.environ.get("MUJOCO_GL")
    if not _can_render():
        raise ValueError(
            "MUJOCO_GL is not set and there is no display: pixels need MUJOCO_GL=egl (a GPU's "
            "driver) or MUJOCO_GL=osmesa (the system's package libosmesa6); states need neither"
        )
    if name is not None and name not in RENDERERS:
        raise ValueError(f"MUJOCO_GL={name}: use one of {', '.join(RENDERERS)}")
    draw = "import mujoco as m; m.Renderer(m.MjModel.from_xml_string('<mujoco/>'), 8, 8).render()"
    tried = subprocess.run([sys.executable, "-c", draw], capture_output=True, text=True)
    if tried.returncode:
        last = (tried.stderr.strip().splitlines() or ["it crashed"])[-1]
        given = "MUJOCO_GL is not set" if name is None else f"MUJOCO_GL={name}"
        raise ValueError(
            f"{given}: MuJoCo cannot render here ({last}); try MUJOCO_GL=egl with a GPU's driver, "
            "osmesa with the system's package libosmesa6, or glfw with a display"
        )
