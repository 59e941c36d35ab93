"""Weights of a finished training, from which another training of the same network begins."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

AUXILIARY = "auxiliary"
"""First part of the names of an auxiliary head, which either network may lack."""


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of weights; ValueError begins with the key `weights`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        why = "this is no file of weights" if path.exists() else "there is no such file"
        raise ValueError(
            f"weights={path}: {why}; name the weights.safetensors of a training"
        ) from error


def load(network: nn.Module, path: Path, classes: int) -> None:
    """Give a network the weights of a file; ValueError if they are those of another network.

    Layers that end in `classes` numbers stay as they were if the file has another number of
    classes, and so does an auxiliary head that the file lacks.
    """
    own, found = network.state_dict(), read(path)
    alone = sorted(own.keys() ^ found.keys())
    if strange := [name for name in alone if not name.startswith(AUXILIARY)]:
        raise _other(path, f"{strange[0]} is in one of them only")
    taken = dict(own)
    for name, value in found.items():
        if name not in own:
            continue
        ours, theirs = own[name].shape, value.shape
        if ours == theirs:
            taken[name] = value
        elif not ours or ours[0] != classes or ours[1:] != theirs[1:]:
            raise _other(path, f"{name} is {list(theirs)}, not {list(ours)}")
    network.load_state_dict(taken)


def _other(path: Path, how: str) -> ValueError:
    return ValueError(
        f"weights={path}: the weights of another network ({how}); use the architecture of their "
        "training, its channels, layers and stem, and images with as many colours"
    )
