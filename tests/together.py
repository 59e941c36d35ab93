"""Work in several processes that share it, forked from a test."""

import os
import pickle
import traceback
from datetime import timedelta

import torch
import torch.distributed as dist

from nasrun.ranks import Ranks


def together(folder, work, size=2, *, synchronised=True):
    """Return what `work(world)` returns in each of `size` processes, by rank."""
    made, statuses = ended(folder, work, size, synchronised=synchronised)
    assert statuses == [0] * size
    return made


def ended(folder, work, size=2, *, synchronised=True):
    """Return what `work(world)` returns in each process, `None` if it fails, and their statuses."""
    children = [_forked(folder, work, rank, size, synchronised) for rank in range(size)]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    (folder / "store").unlink()
    made = []
    for rank in range(size):
        path = folder / f"{rank}.pickle"
        made.append(pickle.loads(path.read_bytes()) if path.exists() else None)
        path.unlink(missing_ok=True)
    return made, statuses


def _forked(folder, work, rank, size, synchronised):
    child = os.fork()
    if child:
        return child
    try:
        torch.set_num_threads(1)
        store = dist.FileStore(str(folder / "store"), size)
        wait = timedelta(seconds=60)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=wait)
        made = work(Ranks(synchronised=synchronised))
        (folder / f"{rank}.pickle").write_bytes(pickle.dumps(made))
        os._exit(0)
    except BaseException:  # noqa: BLE001  the test must not go on in a second process
        traceback.print_exc()
    finally:
        os._exit(1)
