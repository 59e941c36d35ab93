"""The nodes of a Ray cluster: which live, what is installed there, how many members they take."""

from __future__ import annotations

import socket
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from nasrun.world import Lost

ANSWER = 120.0
"""Seconds in which a node tells what it has installed; Ray may start a process there first."""
HEAD = 30.0
"""Seconds in which the head node may not answer; after 60, Ray ends this process by itself."""
KNOCK = 5.0
"""Seconds in which it may accept a connection."""


class HeadLost(Lost):
    """The head node of a cluster does not answer."""


class Nodes:
    """The living nodes of the cluster that this process has joined, for members of one size.

    While no node can run a member, `look` waits up to `patience` seconds for another one.
    """

    def __init__(self, *, cpus: float, gpus: float, patience: float) -> None:
        import ray

        self.needs = {"CPU": cpus, "GPU": gpus}
        self.patience = patience
        self.head = ray.get_runtime_context().gcs_address
        self.living = _living()
        self.silent_since: float | None = None
        self.full_since: float | None = None

    @property
    def places(self) -> int:
        """The number of members that run at a time."""
        return sum(map(self._places, self.living.values()))

    def refuse_unlike(self) -> None:
        """Refuse a cluster with a node that can run a member, but has other code than this one."""
        import ray
        from ray.exceptions import GetTimeoutError, RayError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        ask, ours = ray.remote(num_cpus=0, max_retries=0)(installed()), own()
        asked = [
            (node["NodeManagerHostname"], ask.options(scheduling_strategy=On(key, False)).remote())
            for key, node in self.living.items()
            if self._places(node)
        ]
        for host, answer in asked:
            try:
                unlike = differing(ours, ray.get(answer, timeout=ANSWER))
            except GetTimeoutError:
                unlike = f"does not answer within {ANSWER:g} s; restart Ray there"
            except RayError as error:
                unlike = f"cannot run Python ({str(error).splitlines()[0]}); restart Ray there"
            if unlike:
                raise ValueError(f"engine=ray: node {host} {unlike}")

    def look(self) -> None:
        """Tell of lost nodes; raise `Lost` if none is left, or the head node is silent."""
        now = time.monotonic()
        if not _accepts(self.head):
            self.silent_since = self.silent_since or now
            if now - self.silent_since >= HEAD:
                raise HeadLost(
                    f"engine=ray: the head node {self.head} does not answer; start the cluster "
                    "again by `ray start`"
                )
            return
        self.silent_since = None
        living = _living()
        for key in self.living.keys() - living.keys():
            host = self.living[key]["NodeManagerHostname"]
            warnings.warn(
                f"engine=ray: node {host} ({key[:8]}) is lost; other nodes train its members again",
                stacklevel=1,
            )
        self.living = living
        if any(map(self._places, living.values())):
            self.full_since = None
            return
        needs = f"engine.cpus={self.needs['CPU']:g} engine.gpus={self.needs['GPU']:g}"
        add = f"add one by `ray start --address={self.head}`"
        if self.full_since is None:
            self.full_since = now
            warnings.warn(
                f"engine=ray: no node of the cluster has {needs}; {add} within "
                f"engine.patience={self.patience:g} s",
                stacklevel=1,
            )
        if now - self.full_since >= self.patience:
            raise Lost(f"engine=ray: no node of the cluster has {needs}; {add}")

    def _places(self, node: Mapping[str, Any]) -> int:
        """Return how many members fit into a node."""
        has = node["Resources"]
        return int(min(has.get(kind, 0.0) / need for kind, need in self.needs.items() if need))


def installed() -> Callable[[], dict[str, str | None]]:
    """Return a function that returns the versions of what results depend on, `None` if missing.

    It is an inner function, since Ray sends these whole, also to a node without nasrun.
    """

    def versions() -> dict[str, str | None]:
        import hashlib
        from importlib.metadata import PackageNotFoundError, version
        from importlib.util import find_spec
        from pathlib import Path

        found: dict[str, str | None] = {"nasrun": None}
        if (spec := find_spec("nasrun")) is not None and spec.origin is not None:
            code, home = hashlib.sha256(), Path(spec.origin).parent
            for file in sorted(home.rglob("*.py")):
                code.update(file.relative_to(home).as_posix().encode() + file.read_bytes())
            found["nasrun"] = f"code {code.hexdigest()[:8]}"
        for name in ("torch", "torchvision", "numpy"):
            try:
                found[name] = version(name).partition("+")[0]
            except PackageNotFoundError:
                found[name] = None
        return found

    return versions


@cache
def own() -> dict[str, str | None]:
    """Return what this process has installed; files that are edited later do not change it."""
    return installed()()


def differing(ours: Mapping[str, str | None], theirs: Mapping[str, str | None]) -> str | None:
    """Return what a node has to change to have what this machine has, `None` if nothing."""
    for name, here in ours.items():
        there = theirs[name]
        if here != there:
            has = f"has no {name}" if there is None else f"has {name} {there}"
            return f"{has}, and this machine has {here}; install the same on both"
    return None


def answers(address: str) -> None:
    """Raise ValueError unless something accepts connections at HOST:PORT."""
    if not address.rpartition(":")[2].isdigit():
        raise ValueError("not HOST:PORT")
    if not _accepts(address):
        raise ValueError("no connection")


def _accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK).close()
    except OSError:
        return False
    return True


def _living() -> dict[str, dict[str, Any]]:
    """Return the nodes that are alive, by their ids."""
    import ray

    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
