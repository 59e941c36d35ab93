"""Classes for nodes: one with a parameter of every type, and a net with an optimizer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch.optim import Optimizer


class Point:
    def __init__(
        self,
        *,
        x: int,
        y: float = 0.0,
        name: str = "",
        on: bool = False,
        kind: Literal["a", "b"] = "a",
        pair: tuple[int, int] = (0, 0),
        many: tuple[str, ...] = (),
        inner: "Point | None" = None,
        some: "Sequence[str] | None" = None,
        kept: "Mapping[str, Sequence[str]] | None" = None,
        rule: "Callable[[int, str], float] | None" = None,
        loose: Any = 0,
    ) -> None:
        float(loose)
        if x < 0:
            raise ValueError(f"x={x}: use 0 or more")
        self.x, self.y, self.pair, self.many, self.inner = x, y, pair, many, inner
        self.rule = rule


class Net:
    def __init__(self, *, optimizer: Callable[[Any], Optimizer]) -> None:
        self.optimizer = optimizer


class Stranger:
    """No point."""


def good(x: int, name: str, *, times: float = 1.0) -> float:
    return x * times


def needy(x: int, name: str, *, times: float) -> float:
    return x * times


def other(x: str, name: str) -> float:
    return 0.0


def unsaid(x, name):
    return 0.0


def _private(x: int, name: str) -> float:
    return 0.0


def broken(self, *, x: int) -> None:
    raise RuntimeError("a bug")
