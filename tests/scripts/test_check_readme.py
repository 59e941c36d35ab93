"""The commands of a page that are run; none is run twice."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

PAGE = """
```bash
scripts/demo        # sets up
nasrun show genotype=darts_v2 \\
  network=imagenet     # a cell
nasrun run dataset.root=DIR
nasrun search 'trust=[mine]' strategy=mine
pytest tests
```

```python
nasrun list
```
"""


@pytest.fixture
def readme(script):
    return script("check_readme")


def test_commands_are_taken_in_order_and_what_is_missing_is_named(readme):
    assert list(readme.commands_of(PAGE)) == [
        ("nasrun run", ""),
        ("nasrun show genotype=darts_v2    network=imagenet", ""),
        ("nasrun run dataset.root=DIR", "DIR"),
        ("nasrun search 'trust=[mine]' strategy=mine", "mine"),
    ]
    given = dict(readme.commands_of(PAGE, Path("/tmp/my images")))
    assert given["nasrun run dataset.root='/tmp/my images'"] == ""


def test_what_is_done_is_not_done_again_and_a_failure_stops_nothing(readme, here, monkeypatch):
    ran = []

    def fake(words, cwd):
        ran.append((words[3:], cwd))
        return SimpleNamespace(returncode=2 if "show" in words else 0)

    monkeypatch.setattr(subprocess, "run", fake)
    done = here / "done.jsonl"
    for _ in range(2):
        readme.run(["nasrun show a", "nasrun run 'b c'"], here, done)
    assert ran == [(["show", "a"], here), (["run", "b c"], here)]
    assert [json.loads(line)["status"] for line in done.read_text().splitlines()] == [2, 0]


def test_an_interrupted_command_is_not_done(readme, here, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda words, cwd: SimpleNamespace(returncode=130))
    with pytest.raises(SystemExit, match="interrupted"):
        readme.run(["nasrun run"], here, here / "done.jsonl")
    assert readme.read(here / "done.jsonl") == []


def test_the_readme_has_commands_that_run_anywhere(readme):
    text = (readme.ROOT / "README.md").read_text()
    runs = [command for command, needs in readme.commands_of(text) if not needs]
    assert "nasrun run" in runs
    assert len(runs) >= 5
