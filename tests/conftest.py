"""Fixtures of all tests: an empty folder, the command line inside it, a finished run, and options.

`--conf DIR --trust PKG` adds a folder of YAML files and a package to the contract tests.
"""

import gc
import os
import shutil
import signal
import sys
import warnings
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from remembered import remember
from toys import context

from nasrun.runs import environment

SMALL = ["rounds=2", "width=2", "depth=3", "batch_size=16", "images=64", "space.nodes=1"]
SMALL += ["space.kept_edges=1", "budget.threads=1", "budget.device=cpu"]
SHORT = ["retrain.epochs=2", "retrain.channels=2", "retrain.layers=3", "retrain.auxiliary=false"]
MOVED = ["transfer.epochs=1", "transfer.channels=2", "transfer.layers=3"]
MOVED += ["transfer.auxiliary=false"]
NB201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def pytest_addoption(parser):
    group = parser.getgroup("nasrun")
    group.addoption("--conf", action="append", default=[], help="a folder of more YAML groups")
    group.addoption("--trust", action="append", default=[], help="a package that they may name")


def pytest_configure(config):
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run in parallel
    remember()


def pytest_collection_finish():
    """Look for garbage in what comes now, and not as often: each look takes as long as a test."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
    if hasattr(os, "register_at_fork"):
        # a fork has no threads: it would wait for ever for those of an object that it deletes
        os.register_at_fork(after_in_child=gc.freeze)


@dataclass(frozen=True)
class Answer:
    """The answer of a command."""

    status: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line of a refused command."""
        assert self.status == 2, (self.status, self.out, self.err)
        assert self.err.startswith("nasrun: "), self.err
        assert len(self.err.splitlines()) == 1, self.err
        return self.err.strip()


@pytest.fixture(autouse=True)
def untouched(monkeypatch, tmp_path_factory):
    """Restore what a command changes in its process."""
    monkeypatch.setenv("NASRUN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    for name in ("NASRUN_TRACEBACK", "NASRUN_TRACKER", "COLUMNS", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    if "torch" in sys.modules:  # a command flushes what is too small for full precision
        sys.modules["torch"].set_flush_denormal(False)
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def side_by_side():
    """Compute on one thread, and wait for no disk: tests run side by side, and none cuts power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nasrun.budget.busy", lambda: 0)
        patch.setattr("nasrun.budget.cores", lambda: 1)
        patch.setattr(environment, "_git_commit", cache(environment._git_commit))
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Change into an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def no_pictures(monkeypatch):
    """Nothing is drawn: pictures take longer than a small search."""
    for name in ("trade_off", "event_scores", "widths_and_depths", "score_scatter"):
        monkeypatch.setattr(f"nasrun.pictures.plots.{name}", lambda *arguments: None)
    monkeypatch.setattr("nasrun.pictures.curves._draw", lambda *arguments: None)
    monkeypatch.setattr("nasrun.pictures.confusion.confusion", lambda *arguments: None)
    monkeypatch.setattr("nasrun.pictures.cells.draw_cells", lambda *arguments: [])


def sketch(figure, file, **options):
    """Write a picture's numbers and words: to draw it takes as long as a small search."""
    from matplotlib.lines import Line2D
    from matplotlib.text import Text
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    lines = [line.get_xydata().tolist() for line in figure.findobj(Line2D)]
    words = [text.get_text() for text in figure.findobj(Text)]
    text = repr((lines, words, options))
    if options["format"] == "png":
        info = PngInfo()
        info.add_text("sketch", text)
        Image.new("RGB", (8, 8)).save(file, "png", pnginfo=info)
    else:
        file.write(text.encode())


@pytest.fixture
def sketched(monkeypatch):
    """Write sketches in place of pictures."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", sketch)


@pytest.fixture
def pictures():
    """Draw the pictures of commands."""


@pytest.fixture
def no_workers(monkeypatch):
    """Let a pool of one process work in this one: another takes longer to start than a search."""
    from nasrun.engines.local import Pool, Serial

    run = Pool.run

    def here(pool, job, orders, cores):
        one = pool.side_by_side(cores) == 1
        return Serial().run(job, orders, cores) if one else run(pool, job, orders, cores)

    monkeypatch.setattr(Pool, "run", here)


@pytest.fixture
def workers():
    """Start the process of a pool of one."""


@pytest.fixture
def nasrun(here, capsys, request):
    """Run a command in this process, in an empty folder.

    Nothing is drawn, and no process is started for a pool of one, unless `pictures` or `workers`
    are asked for.
    """
    for name in ("pictures", "workers"):
        if name not in request.fixturenames:
            request.getfixturevalue(f"no_{name}")

    def run(*words) -> Answer:
        from nasrun.cli.main import main

        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        return Answer(end.value.code, *capsys.readouterr())

    return run


class Forked:
    """A command in a copy of this process: one of its own takes seconds to import all again."""

    def __init__(self, *words, before=None):
        from nasrun.cli.main import main

        self.pid, self.status = os.fork(), None
        if not self.pid:
            try:
                os.setsid()  # a signal to it is no signal to us
                if before is not None:
                    before()
                main([str(word) for word in words])
            except SystemExit as end:
                os._exit(end.code)
            finally:
                os._exit(1)

    def poll(self):
        """How it ended, as `subprocess` tells it; `None` while it runs."""
        if self.status is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if ended else None
        return self.status

    def wait(self):
        """How it ended, once it has."""
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def kill(self):
        """How it ended, killed if it had not."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        return self.wait()


@pytest.fixture
def forked(nasrun):
    """Begins commands in copies of this process, in the empty folder."""
    if not hasattr(os, "fork"):
        pytest.skip("this system copies no processes")
    begun = []

    def begin(*words, before=None):
        begun.append(Forked(*words, before=before))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()


@pytest.fixture
def small():
    """Overrides of a search that takes a second."""
    return list(SMALL)


@pytest.fixture
def short():
    """Overrides of a retraining that takes a second, without those of the search."""
    return [*SHORT, "budget.threads=1", "budget.device=cpu"]


@pytest.fixture
def moved():
    """Overrides of a transfer that takes a second."""
    return [*MOVED, "budget.threads=1", "budget.device=cpu"]


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """A table of all NAS-Bench-201 architectures with made-up, distinct accuracies."""
    path = tmp_path_factory.mktemp("tables") / "made-up.csv"
    cells = product(NB201, repeat=6)
    with path.open("w") as file:
        file.write("index,architecture,cifar10_test_200ep,cifar10_val_12ep\n")
        for index, (a, b, c, d, e, f) in enumerate(cells):
            cell = f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
            file.write(f"{index},{cell},{10 + index / 200},{90 - index / 200}\n")
    return path


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """`nasrun run`, executed once, with sketches; tests copy it with `finished`."""
    from nasrun.cli.main import main

    outputs = tmp_path_factory.mktemp("whole") / "outputs"
    cache = tmp_path_factory.getbasetemp() / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASRUN_CACHE", str(cache))
        patch.setattr(warnings, "showwarning", warnings.showwarning)
        patch.setattr("matplotlib.figure.Figure.savefig", sketch)
        with pytest.raises(SystemExit) as end:
            main(["run", *SMALL, *SHORT, *MOVED, f"outputs={outputs}"])
    assert end.value.code == 0
    return outputs


@pytest.fixture
def finished(here, whole_run):
    """The folder of a finished run in the current folder's `outputs`."""
    shutil.copytree(whole_run, here / "outputs")
    return Path("outputs/digits-darts-darts/v001")


@pytest.fixture
def begin():
    """Return a function that begins the strategy of a command's words on the embedded digits."""
    from nasrun.budget import Budget
    from nasrun.config import build, compose, resolve
    from nasrun.streams import Streams

    def make(*words):
        budget = Budget(device="cpu", precision="auto", threads=1, max_hours=None)
        composed = compose(list(words)).config
        space, dataset, task, strategy = (
            build(resolve(composed[key]), key) for key in ("space", "dataset", "task", "strategy")
        )
        streams = Streams(0)
        streams.enter("test")
        task.begin(dataset, budget)
        strategy.begin(context(space, task, budget, streams=streams))
        return strategy

    return make
