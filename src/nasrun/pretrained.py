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


def load(network: nn.Module, path: Path, classes: int) -> list[str]:
    """Give a network the weights of a file, and return the names of those that stay as they were.

    These are the weights of layers that end in `classes` numbers, where the file has other classes,
    and of an auxiliary head that the file lacks. Raises ValueError if the file is of another
    network.
    """
    own, found = network.state_dict(), read(path)
    stay = [name for name in own if name not in found]
    extra = [name for name in found if name not in own]
    strange = [name for name in (*stay, *extra) if not name.startswith(AUXILIARY)]
    if strange:
        raise _other(path, f"{strange[0]} is in one of them only")
    for name in own:
        if name not in found:
            continue
        ours, theirs = own[name].shape, found[name].shape
        if ours != theirs:
            if not ours or ours[0] != classes or ours[1:] != theirs[1:]:
                raise _other(path, f"{name} is {list(theirs)}, not {list(ours)}")
            stay.append(name)
    kept = {name: own[name] for name in stay}
    taken = {name: found[name] for name in own.keys() - kept.keys()}
    network.load_state_dict(taken | kept)
    return stay


def _other(path: Path, how: str) -> ValueError:
    return ValueError(
        f"{path}: the weights of another network ({how}); use the architecture of their "
        "training, its channels, layers and stem, and images with as many colours"
    )
