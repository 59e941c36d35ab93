"""Episodes: played by whatever acts, several at a time, and filmed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nasrun.data.environments import Episodes, Observation
from nasrun.files import write_whole

Act = Callable[[Tensor], Tensor]
"""From observations (B, ...) to actions (B, n)."""
LONGEST_FILM = 200  # frames
STRIP = 8  # frames side by side


def seed() -> int:
    """Return a seed for an episode, from torch's global generator."""
    return int(torch.randint(2**31, ()))


def earned(started: Sequence[Episodes], act: Act) -> list[float]:
    """Play an episode of each environment side by side; return the sums of their rewards."""
    seen = [torch.as_tensor(episodes.reset(seed())) for episodes in started]
    totals, playing = [0.0] * len(started), [*range(len(started))]
    while playing:
        actions = act(torch.stack([seen[place] for place in playing])).numpy()
        steps = [started[place].step(each) for place, each in zip(playing, actions, strict=True)]
        for place, step in zip(playing, steps, strict=True):
            seen[place] = torch.as_tensor(step.observation)
            totals[place] += step.reward
        playing = [place for place, step in zip(playing, steps, strict=True) if not step.over]
    return totals


def film(episodes: Episodes, act: Act, path: Path) -> list[str]:
    """Play one episode; write it as a GIF and as a strip of frames, and return their names.

    Without a renderer there is no film, and the list is empty.
    """
    from PIL import Image

    frames = [Image.fromarray(frame) for frame in _frames(episodes, act)]
    if not frames:
        return []
    animation = path.with_name(path.name + ".gif")
    first, *others = frames
    write_whole(
        animation,
        lambda file: first.save(
            file, "gif", save_all=True, append_images=others, duration=33, loop=0
        ),
    )
    shown = frames[:: max(1, len(frames) // STRIP)][:STRIP]
    strip = Image.new("RGB", (sum(frame.width for frame in shown), shown[0].height))
    for place, frame in enumerate(shown):
        strip.paste(frame, (place * frame.width, 0))
    picture = path.with_name(path.name + ".png")
    write_whole(picture, lambda file: strip.save(file, "png"))
    return [animation.name, picture.name]


def _frames(episodes: Episodes, act: Act) -> list[Observation]:
    observation, over = torch.as_tensor(episodes.reset(seed())), False
    frames: list[Observation] = []
    while not over and len(frames) < LONGEST_FILM:
        try:
            frames.append(episodes.frame())
        except Exception:  # noqa: BLE001  drivers fail in ways of their own
            return []
        step = episodes.step(act(observation[None])[0].numpy())
        observation, over = torch.as_tensor(step.observation), step.over
    return frames
