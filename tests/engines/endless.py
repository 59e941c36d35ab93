"""Jobs that do not end by themselves, in a file that another process imports at once."""

import signal
from dataclasses import dataclass


@dataclass(frozen=True)
class Endless:
    """Tells that it works, and works on while the pipe stands open."""

    pipe: str

    def __call__(self, order):
        with open(self.pipe, "w") as pipe:
            print("working", file=pipe, flush=True)
            signal.pause()


class Slow:
    """A job that arrives slowly, as one does whose modules take long to import."""

    def __init__(self, pipe):
        self.pipe = pipe

    def __reduce__(self):
        return Endless(self.pipe), (0,)
