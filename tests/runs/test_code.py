import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasrun.runs.code import changed, continued, digests


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A user's package with two modules."""
    folder = tmp_path / "mine"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "inner/net.py").write_text("WIDTH = 3\n")
    module = ModuleType("mine")
    module.__path__ = [str(folder)]
    monkeypatch.setitem(sys.modules, "mine", module)
    return folder


def test_every_python_file_of_a_package_counts_and_nothing_else(package):
    before = digests(["mine"])
    assert set(before) == {"nasrun", "mine"}
    (package / "notes.txt").write_text("later")
    (package / ".#net.py").symlink_to("someone@somewhere.1")  # as Emacs marks an unsaved file
    (package / ".checkpoints").mkdir()
    (package / ".checkpoints/net.py").touch()
    assert digests(["mine.inner"]) == before
    seen = [before["mine"]]
    (package / "inner/net.py").write_text("WIDTH = 4\n")
    seen.append(digests(["mine"])["mine"])
    (package / "inner/net.py").rename(package / "net.py")
    seen.append(digests(["mine"])["mine"])
    (package / "empty.py").touch()
    seen.append(digests(["mine"])["mine"])
    assert len(set(seen)) == 4
    assert digests(["mine"])["nasrun"] == before["nasrun"]


def test_a_single_module_is_its_file_and_a_built_in_one_has_none(tmp_path, monkeypatch):
    module = ModuleType("lone")
    module.__file__ = str(tmp_path / "lone.py")
    monkeypatch.setitem(sys.modules, "lone", module)
    (tmp_path / "lone.py").write_text("A = 1\n")
    before = digests(["lone", "sys"])
    (tmp_path / "other.py").touch()
    assert digests(["lone", "sys"]) == before
    (tmp_path / "lone.py").write_text("A = 2\n")
    assert changed({name: [each] for name, each in before.items()}, digests(["lone", "sys"])) == [
        "lone"
    ]


CODE = st.dictionaries(st.sampled_from("abc"), st.sampled_from("123"))


@given(st.lists(CODE, max_size=6))
def test_code_goes_on_as_the_list_of_its_versions_without_repetitions(versions):
    known = {}
    for now in versions:
        before, known = known, continued(known, now)
        assert changed(known, now) == []
        told = [name for name in now if known[name] != before.get(name) and name in before]
        assert changed(before, now) == told
    for name, listed in known.items():
        typed = [now[name] for now in versions if name in now]
        assert listed == [x for n, x in enumerate(typed) if n == 0 or typed[n - 1] != x]
