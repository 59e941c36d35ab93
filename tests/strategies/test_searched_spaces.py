"""A strategy asks for the spaces that it uses, so that another one is refused before it begins."""

import inspect
import pkgutil
import re
from importlib import import_module

from nasrun import strategies
from nasrun.strategies.base import Strategy


def test_every_strategy_searches_spaces_of_the_kind_that_it_begins_with():
    checked = []
    for found in pkgutil.iter_modules(strategies.__path__):
        module = import_module(f"nasrun.strategies.{found.name}")
        for name, kind in vars(module).items():
            own = inspect.isclass(kind) and kind.__module__ == module.__name__
            if not own or not issubclass(kind, Strategy) or inspect.isabstract(kind):
                continue
            needed = re.search(r"Context\[(\w+),", kind.begin.__annotations__["context"])[1]
            offered = {each.__name__ for space in kind.searches for each in space.__mro__}
            assert needed in offered | {"Any"}, name
            checked.append(name)
    assert {"RandomSearch", "ReinforceSearch", "Radars", "Population"} <= set(checked)
