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
    children = []
    for rank in range(size):
        child = os.fork()
        if not child:
            try:
                torch.set_num_threads(1)
                store = dist.FileStore(str(folder / "store"), size)
                wait = timedelta(seconds=60)
                dist.init_process_group(
                    "gloo", store=store, rank=rank, world_size=size, timeout=wait
                )
                made = work(Ranks(synchronised=synchronised))
                (folder / f"{rank}.pickle").write_bytes(pickle.dumps(made))
                os._exit(0)
            except BaseException:  # noqa: BLE001  the test must not go on in a second process
                traceback.print_exc()
                os._exit(1)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert statuses == [0] * size
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(size)]
