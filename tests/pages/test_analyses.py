"""The results of `nasrun analyze` on a page."""

import pytest

from nasrun.pages.analyses import analyses
from nasrun.runs.run import Run


@pytest.mark.parametrize("kept", ["measured.jsonl", "scores.jsonl"])
def test_an_analysis_that_was_interrupted_is_not_called_missing(finished, kept):
    folder = finished / "analysis/ranks"
    folder.mkdir(parents=True)
    (found,) = analyses({Run(finished): "v001"})
    assert found.notes == ("analysis/ranks/ranks.json is missing.",)
    (folder / kept).write_text('{"of')
    (found,) = analyses({Run(finished): "v001"})
    assert found.notes == ("This analysis is not finished; the same command continues.",)
