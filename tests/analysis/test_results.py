"""Where results of analyses go, and whether a run is locked meanwhile."""

from pathlib import Path

import pytest

from nasrun.analysis import results
from nasrun.runs.run import Run


def test_a_folder_of_the_users_is_locked_too_and_removed_if_it_stays_empty(tmp_path):
    folder = tmp_path / "new/place"
    with results.writing(folder):
        again = rf"out={folder}: another nasrun process uses it; wait until that ends, or give out"
        with pytest.raises(ValueError, match=again), results.writing(folder):
            pass
        assert folder.is_dir()
    assert not folder.parent.exists()
    with results.writing(folder):
        (folder / "cells.json").touch()
    assert (folder / "cells.json").exists()


def test_a_run_is_only_read_by_an_analysis_that_writes_elsewhere(finished, monkeypatch):
    whole = finished.absolute()
    monkeypatch.chdir(finished)
    with Run(whole).lock():
        for inside in ("analysis/search", str(whole / "analysis/search")):
            with pytest.raises(ValueError, match="or give out=DIR"), results.writing(Path(inside)):
                pass
        for outside in ("../elsewhere", str(whole.parent / "elsewhere")):
            with results.writing(Path(outside)):
                pass
