"""A command in several processes: torch's launcher starts them, and they end as one command.

Only the leader prints. An error of another process is left where the leader finds it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import sleep
from typing import TYPE_CHECKING
from uuid import uuid4

from nasrun.cli import screen
from nasrun.cli.ending import Ended
from nasrun.cli.line import Line
from nasrun.machine import own_signals
from nasrun.world import Closed, Launched, Lost

if TYPE_CHECKING:
    from torch.distributed import Store

    from nasrun.budget import Budget

FAILED = "nasrun/failed"
"""The key of an error that a process leaves for the leader."""
STARTED = "NASRUN_STARTED_PROCESSES"
"""The variable that tells processes that `start` has started them and tells of their end."""


GRACE = 2.0
"""Seconds in which the leader tells of an error that all processes have met."""
LOST = 1
"""The exit status of a process that has lost another one."""
TOLD = 3
"""The exit status of a leader that has lost another one and has told why."""
AFTERWARDS = (LOST, -signal.SIGTERM)
"""How processes end after another one: by themselves, or by the launcher."""


def start(line: Line, count: int) -> int:
    """Run a command in `count` processes on this machine, and return its exit status."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ[STARTED] = "1"
    logging.disable(logging.CRITICAL)  # the launcher's reports of what is told here in one line
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        with own_signals():  # the launcher answers them, and keeps doing so after its end
            elastic_launch(config, sys.executable)("-m", "nasrun", line.verb, *line.words)
    except SignalException as ended:
        raise _interrupt(ended.sigval) from None
    except ChildFailedError as failed:
        codes = {rank: failure.exitcode for rank, failure in failed.failures.items()}
        if told := [code for code in codes.values() if code > LOST]:
            return LOST if told[0] == TOLD else told[0]  # the leader has said why
        first = {rank: code for rank, code in codes.items() if code not in AFTERWARDS} or codes
        rank, code = next(iter(first.items()))
        by = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended, status {code}"
        raise Lost(f"process {rank + 1} of {count} {by}") from None
    finally:
        del os.environ[STARTED]
        logging.disable(logging.NOTSET)
    return 0


def _interrupt(number: int) -> KeyboardInterrupt:
    return KeyboardInterrupt() if number == signal.SIGINT else Ended(number)


@contextmanager
def joined(budget: Budget) -> Iterator[None]:
    """Work in the context as one of the processes that torch's launcher has started, if it has."""
    if (launched := Launched.here()) is None or launched.size == 1:
        yield
        return
    from nasrun.ranks import connected

    with connected(budget.resolved["device"], launched, budget.sync_batch_norm) as (world, store):
        budget.join(world)
        try:
            yield
        except BaseException as error:
            told = (_led if world.leads else _left)(error, store)
            if told is error:
                raise
            raise told from error


def _left(error: BaseException, store: Store) -> BaseException:
    """Leave the error of a process that prints nothing to the leader."""
    if not isinstance(error, KeyboardInterrupt | Closed):
        with suppress(Exception):  # the launcher is gone
            lost = isinstance(error, Lost)
            text = str(error) if lost else screen.told(error)  # type: ignore[arg-type]
            # the first one stays: it may be the reason of the others
            store.compare_set(FAILED, "", f"{int(lost)} {text}")
        sleep(GRACE)  # at the end of a process, the launcher ends the leader, which may print yet
    return SystemExit(LOST) if isinstance(error, Lost) else error


def _led(error: BaseException, store: Store) -> BaseException:
    """Return the error that the leader's end tells of: that of another process, if it left one.

    An error of the communication itself is told unless a connection was merely closed.
    """
    if not isinstance(error, KeyboardInterrupt | Lost):
        return error
    with suppress(Exception):  # the launcher is gone
        if store.check([FAILED]):
            lost, text = store.get(FAILED).decode().split(" ", 1)
            if not int(lost):
                return ValueError(text)
            error = Lost(text)
    if STARTED not in os.environ:
        return error
    if not isinstance(error, Lost) or isinstance(error, Closed):
        return SystemExit(LOST)
    screen.lost(str(error))
    return SystemExit(TOLD)
