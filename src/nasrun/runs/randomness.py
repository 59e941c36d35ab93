"""The global random generators: their states and seeds."""

from __future__ import annotations

import random
from typing import Any

from nasrun.genotype import fingerprint


def random_state() -> dict[str, Any]:
    """Return the state of every global generator, as tensors and numbers."""
    import numpy as np
    import torch

    name, keys, *rest = np.random.get_state(legacy=True)
    assert isinstance(keys, np.ndarray)
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(keys.astype("int64")), *rest],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Set every global generator to a state that `random_state` returned."""
    import numpy as np
    import torch

    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype("uint32"), *rest))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def seed_everything(seed: int, purpose: str) -> None:
    """Seed every global generator, with different numbers for every purpose."""
    import numpy as np
    import torch

    mixed = int(fingerprint([seed, purpose]), 16)
    torch.manual_seed(mixed)
    random.seed(mixed)
    np.random.seed(mixed % 2**32)
