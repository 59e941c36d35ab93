"""The YAML files of the group `dataset` are calls of the constructors."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "conf" / "dataset"
OTHERS = ("environments", "defaults:")
FILES = [
    path
    for path in sorted(FOLDER.glob("*.yaml"))
    if not any(word in path.read_text() for word in OTHERS)
]
"""Options of image sets, without those of environments."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_lists_every_keyword_with_its_default(path):
    text = path.read_text()
    assert text.startswith("# ")
    settings = yaml.safe_load(text)
    module, name = settings.pop("_target_").rsplit(".", 1)
    parameters = inspect.signature(getattr(import_module(module), name)).parameters
    assert settings.pop("images") == "${images}"
    assert set(settings) == set(parameters) - {"images"}
    for key, value in settings.items():
        default = parameters[key].default
        assert value == ("???" if default is inspect.Parameter.empty else default), key


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_setting_has_a_source(path):
    lines = path.read_text().splitlines()[2:]
    assert all(" # " in line for line in lines if not line.endswith("???"))
