"""Replay buffer: transitions in a ring; n-step returns are computed when they are sampled."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

LONGEST = 64
"""Largest number of steps of a return."""


class Transitions(NamedTuple):
    """A batch of observations, actions, n-step rewards, discounts, and next observations."""

    observation: Tensor
    action: Tensor
    reward: Tensor
    discount: Tensor
    next_observation: Tensor


class Replay:
    """The last `capacity` steps.

    Every step stores the observation before it; an episode ends with one more entry for its last
    observation. So observations are stored once. Of an observation of `stack` frames, only the
    newest frame (the last) is stored: the others are those of the steps before, and an episode's
    first frame is repeated as often as needed.
    """

    def __init__(
        self, capacity: int, shape: tuple[int, ...], actions: int, *, pixels: bool, stack: int
    ) -> None:
        kind = torch.uint8 if pixels else torch.float32
        self.stack, self.part = stack, shape[0] // stack
        self.observation = torch.zeros(capacity, self.part, *shape[1:], dtype=kind)
        self.age = torch.zeros(capacity, dtype=torch.int64)
        """Number of earlier steps of the episode."""
        self.action = torch.zeros(capacity, actions)
        self.reward = torch.zeros(capacity)
        self.going = torch.zeros(capacity)
        """1 if further reward is possible after the step, 0 if the episode terminated."""
        self.steps_left = torch.zeros(capacity, dtype=torch.int64)
        """Number of steps of the episode from this entry; 0 for its last observation."""
        self.capacity, self.position, self.size, self.episode = capacity, 0, 0, 0

    def begin(self, observation: Tensor) -> None:
        """Start an episode."""
        self.episode = 0
        self._see(observation)

    def add(self, action: Tensor, reward: float, terminated: bool, observation: Tensor) -> None:
        """Add a step from the last observation."""
        here = (self.position - 1) % self.capacity
        self.action[here] = action
        self.reward[here] = reward
        self.going[here] = 0.0 if terminated else 1.0
        self.episode += 1
        recent = min(self.episode, LONGEST)
        self.steps_left[torch.arange(self.position - recent, self.position) % self.capacity] += 1
        self._see(observation)

    def _see(self, observation: Tensor) -> None:
        here = self.position
        self.observation[here] = observation[-self.part :]
        self.age[here] = self.episode
        self.steps_left[here] = 0
        self.position = (here + 1) % self.capacity
        self.size = min(self.size + 1, self.capacity)

    def draw(self, batch_size: int, steps: int, discount: float) -> Transitions:
        """Sample transitions of up to `steps` steps, fewer at the end of an episode."""
        start = self._starts(batch_size)
        reward, factor = torch.zeros(batch_size), torch.ones(batch_size)
        place = start
        for step in range(steps):
            inside = (self.steps_left[start] > step).float()
            reward += inside * factor * self.reward[place]
            follows = inside * discount * self.going[place] + (1 - inside)
            factor = factor * follows
            place = torch.where(inside > 0, (place + 1) % self.capacity, place)
        return Transitions(self._seen(start), self.action[start], reward, factor, self._seen(place))

    def _starts(self, count: int) -> Tensor:
        """Sample positions (count,) of steps, uniformly, without reading the whole ring."""
        found = torch.empty(0, dtype=torch.int64)
        while len(found) < count:
            place = torch.randint(self.size, (2 * count,))
            whole = self.steps_left[place] > 0
            if self.size == self.capacity:  # frames of the oldest may be overwritten
                order = (place - self.position) % self.capacity
                whole &= order >= self.age[place].clamp(max=self.stack - 1)
            found = torch.cat([found, place[whole]])
        return found[:count]

    def _seen(self, place: Tensor) -> Tensor:
        """Return the stacked observations at these positions."""
        frames = [
            self.observation[(place - self.age[place].clamp(max=back)) % self.capacity]
            for back in reversed(range(self.stack))
        ]
        return frames[0] if self.stack == 1 else torch.cat(frames, dim=1)

    def state_dict(self) -> dict[str, Any]:
        """Return the filled part and the next position."""
        parts = ("observation", "age", "action", "reward", "going", "steps_left")
        filled = {name: getattr(self, name)[: self.size].clone() for name in parts}
        return {**filled, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned; the next episode is a new one."""
        state = dict(state)
        self.position = state.pop("position")
        for name, tensor in state.items():
            getattr(self, name)[: len(tensor)] = tensor
            self.size = len(tensor)
