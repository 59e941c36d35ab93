"""Signatures read from sources are those that Python finds when it imports them."""

import inspect
import re
import sys
from importlib import import_module

import pytest

from nasrun.config import conf_folder
from nasrun.config.kinds import Anything, Either, Instance, Keyed, Null, Scalar, Several, Words
from nasrun.config.reading import signature

TARGETS = sorted(
    {
        target
        for path in conf_folder().rglob("*.yaml")
        for target in re.findall(r"_target_: (nasrun[\w.]+|torch\.optim\.\w+)", path.read_text())
        if not target.endswith(".NAME")
    }
)


def test_every_target_has_the_parameters_that_python_finds():
    assert len(TARGETS) > 70
    for target in TARGETS:
        module, _, name = target.rpartition(".")
        found = inspect.signature(getattr(import_module(module), name)).parameters
        read = signature(target)
        assert read is not None, target
        assert list(read.parameters) == list(found), target
        for word, parameter in read.parameters.items():
            required = found[word].default is inspect.Parameter.empty
            assert parameter.required == required, f"{target}.{word}"
            if target.startswith("nasrun."):
                assert parameter.kind != Anything(), f"{target}.{word}"


SOURCE = """
from __future__ import annotations
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Optional
import elsewhere_unknown
from .other import Base as Mother
if TYPE_CHECKING:
    from collections.abc import Sequence
Size = Literal["big", 3]
@dataclass
class Data(Mother):
    _: KW_ONLY
    shared: ClassVar[int] = 3
    size: Size
    names: "Sequence[str] | None" = None
    kept: dict[str, Optional[int]] = field(default_factory=dict)
    hidden: int = field(default=0, init=False)
class Plain(Data):
    pass
class Strange(elsewhere_unknown.Thing):
    pass
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of somebody; it raises where it is imported."""
    folder = tmp_path / "somebodys"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .data import Data\nfrom os import system\n1 / 0\n")
    (folder / "data.py").write_text(SOURCE + "1 / 0\n")
    text = "from dataclasses import dataclass\n@dataclass\nclass Base:\n    x: int\n"
    (folder / "other.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_nothing_is_imported_for_it(package):
    read = signature("somebodys.data.Plain")
    assert list(read.parameters) == ["x", "size", "names", "kept"]
    kinds = {name: parameter.kind for name, parameter in read.parameters.items()}
    assert kinds["x"] == Scalar(int)
    assert kinds["size"] == Words(("big", 3))
    assert kinds["names"] == Either((Several(Scalar(str)), Null()))
    assert kinds["kept"] == Keyed(Either((Scalar(int), Null())))
    assert [name for name, p in read.parameters.items() if p.required] == ["x", "size"]
    assert read.derives(Instance("somebodys.other.Base"))
    assert not read.derives(Instance("somebodys.other.Data"))
    assert signature("somebodys.Data").path == "somebodys.data.Data"
    assert signature("somebodys.system") is None
    assert signature("somebodys.data.Mother") is None
    strange = signature("somebodys.data.Strange")
    assert strange.loose
    assert strange.derives(Instance("anything"))
    assert "somebodys" not in sys.modules
