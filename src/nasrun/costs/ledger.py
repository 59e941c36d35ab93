"""The bytes of tensors, counted as long as each of them lives."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class Ledger(TorchDispatchMode):
    """Counts the bytes of all tensors made inside it: of those `alive`, and the `most` so far.

    `saved` counts those that autograd keeps for a backward pass, whether or not one can follow.
    The tensors `given`, which exist already (see `sizes`), are not counted; `read` counts those of
    them that were used.
    """

    def __init__(self, given: Mapping[int, int]) -> None:
        super().__init__()
        self.alive = self.most = 0
        self._given = given
        self._read: set[int] = set()
        self._made = WeakIdKeyDictionary()
        self._saved: dict[int, torch.UntypedStorage] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._save, lambda tensor: tensor)

    @property
    def saved(self) -> int:
        return sum(storage.nbytes() for storage in self._saved.values())

    @property
    def read(self) -> int:
        return sum(self._given[identity] for identity in self._read)

    def __enter__(self) -> Ledger:
        self._hooks.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._hooks.__exit__(*error)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        for leaf in args:
            if isinstance(leaf, Tensor) and _identity(leaf) in self._given:
                self._read.add(_identity(leaf))
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf)
        return result

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._made or _identity(tensor) in self._given:
            return
        self._made[storage] = True
        size = storage.nbytes()
        self.alive += size
        self.most = max(self.most, self.alive)
        weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self.alive -= size

    def _save(self, tensor: Tensor) -> Tensor:
        if _identity(tensor) not in self._given:
            self._saved[_identity(tensor)] = tensor.untyped_storage()
        return tensor


def sizes(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Return the bytes of tensors by their identity, as a ledger takes them."""
    return {_identity(tensor): tensor.untyped_storage().nbytes() for tensor in tensors}


def _identity(tensor: Tensor) -> int:
    """Return a number that all living tensors over the same storage share."""
    return tensor.untyped_storage()._cdata
