"""`~` is the home folder, and never the name of one."""

import os

import pytest
from omegaconf import OmegaConf

from nasrun.config import at_home, compose, frame, resolve, value_at


def test_a_path_at_home_is_read_as_a_shell_reads_it(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("MINE", "~/mine")
    given = {"a": "~/x", "b": ["~", "x/~/y", "a~b", 3, None], "c": {"d": "~nobody-here/x"}}
    assert at_home(given) == {
        "a": "/home/me/x",
        "b": ["/home/me", "x/~/y", "a~b", 3, None],
        "c": {"d": "~nobody-here/x"},
    }
    config = OmegaConf.create({"dataset": {"root": "~/data", "other": "${oc.env:MINE}"}})
    assert resolve(config.dataset) == {"root": "/home/me/data", "other": "/home/me/mine"}
    assert value_at(config, "dataset.root") == "/home/me/data"
    keys = frame(compose(["outputs='~/runs'", "run='~/runs/a'", "genotype='~/g.json'"]).config)
    assert (keys.outputs, keys.run) == ("/home/me/runs", "/home/me/runs/a")
    assert keys.genotype == "/home/me/g.json"


def test_where_there_is_no_home_a_path_there_is_refused(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    for path in ("~", "~/x"):
        with pytest.raises(ValueError, match="there is no home folder; write the whole path"):
            at_home(path)
