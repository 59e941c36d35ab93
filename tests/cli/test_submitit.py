"""Jobs of a sweep in a queue: one that is signalled to make way is queued again and continues."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
from check_kills import differences

LEAVES = """
import os
import signal
from pathlib import Path

from nasrun.strategies.judges import Judge, Masked


class Leaves(Judge):
    passes = 1

    def __init__(self, *, criterion: str, images: int | None, batch_size: int | None) -> None:
        self.masked = Masked(criterion=criterion, images=images, batch_size=batch_size)
        self.decisions = 0

    def operations(self, strategy, decision):
        self.decisions += 1
        if self.decisions == 4 and Path("busy").exists():
            Path("busy").rename("requeued")
            os.kill(os.getpid(), signal.SIGUSR2)  # as Slurm before it takes the machine away
        return self.masked.operations(strategy, decision)

    def edges(self, strategy, decided):
        return self.masked.edges(strategy, decided)
"""


def test_a_job_that_makes_way_is_queued_again_and_writes_the_same_files(nasrun, here, finished):
    """By submitit's local queue, which shares all but the submission with that of Slurm."""
    pytest.importorskip("submitit", reason="hydra-submitit-launcher is not installed")
    (here / "leaves.py").write_text(LEAVES)
    words = ["select", "-m", "method=perturb", "selector.judge._target_=leaves.Leaves"]
    words += ["trust=[leaves]", "budget.threads=1", "hydra.sweep.dir=sweep"]
    shutil.copytree("outputs", "before")
    assert nasrun(*words).status == 0
    Path("outputs").rename("whole")
    Path("before").rename("outputs")
    Path("busy").touch()
    answer = nasrun(*words, "hydra/launcher=submitit_local")
    assert (answer.status, answer.err) == (0, "")
    assert Path("requeued").exists()
    del sys.modules["leaves"]
    apart = differences(Path("whole"), Path("outputs"))
    apart = [each for each in apart if Path(each).suffix not in (".png", ".svg")]  # tests draw none
    assert apart == []
