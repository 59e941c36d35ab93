"""A page in a real browser: narrow and wide, light and dark."""

import os
from pathlib import Path

import pytest

from scripts import check_report


@pytest.fixture
def browser():
    program, rules = check_report.chromium(), check_report.axe()
    if program is None:
        pytest.skip("no Chromium is there")
    if rules is None:
        pytest.skip("no axe.min.js of axe-core is there; AXE names it")
    return program, rules


def test_a_browser_finds_nothing_wrong_with_a_page(browser, nasrun, finished, tmp_path):
    program, rules = browser
    assert nasrun("report", finished).status == 0
    shots = Path(os.environ.get("NASRUN_ARTEFACTS", tmp_path)) / "report"
    assert check_report.look(finished / "report.html", rules, shots, program) == []
    assert len(list(shots.glob("*.png"))) == 4


def test_what_is_wrong_is_found(browser, tmp_path):
    program, rules = browser
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!DOCTYPE html><title>bad</title><img src=http://127.0.0.1:9/x.png>"
        "<p style='color:#bbb'>pale</p><div style='width:2000px'>wide</div>"
    )
    found = "\n".join(check_report.look(bad, rules, tmp_path, program))
    for told in ("image-alt", "color-contrast", "html-has-lang", "px wide", "asks for http"):
        assert told in found
