"""TensorBoard: event files beside the run's own files.

`torch.utils.tensorboard` writes them, since torch is there anyway, and TensorBoard itself, which it
needs, is what shows them; tensorboardX would be one more package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.stage import Metrics
from nasrun.trackers.base import Ending, SavedRound, StageEnd, TrackedRun, Tracker, require

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import FileWriter


class TensorBoard(Tracker):
    """Event files in the run's folder, or in `folder/NAME-MARK` below a common folder.

    A run with the same name in another folder, or made anew, has another mark.
    """

    def __init__(self, *, folder: str | None) -> None:
        self.folder = folder
        self._writer: FileWriter | None = None

    def check(self) -> None:
        require("tensorboard", "tensorboard")

    def open(self, run: TrackedRun) -> Metrics:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        self._run, self._writer = run, None
        common = None if self.folder is None else Path(self.folder) / f"{run.name}-{run.mark}"
        self._place = run.folder if common is None else common
        if not any(self._place.glob("events.out.tfevents.*")):
            return {}
        written = EventAccumulator(str(self._place), {"scalars": 1}).Reload()
        return {tag: written.Scalars(tag)[-1].value for tag in written.Tags()["scalars"]}

    def describe(self, stage: str, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard.summary import text

        rows = [f"|{key.removeprefix(f'{stage}/')}|{value}|" for key, value in settings.items()]
        table = "\n".join(["|setting|value|", "|-|-|", *rows])
        self._begun.add_summary(text(f"{stage}/settings", table))
        self._begun.flush()

    def log(self, stage: str, rounds: Sequence[SavedRound]) -> None:
        for each in rounds:
            self._add(each.numbers, each.round, each.time)
        self._begun.flush()

    def conclude(self, stage: str, end: StageEnd) -> None:
        from torch.utils.tensorboard.summary import text

        for path in end.pictures:
            self._begun.add_summary(_picture(f"{stage}/{path.stem}", path), end.round)
        if end.genotype is not None:
            written, file = end.genotype
            shown = (
                f"{written}\n\n```json\n{json.dumps(json.loads(file.read_text()), indent=2)}\n```"
            )
            self._begun.add_summary(text(f"{stage}/genotype", shown), end.round)
        self._add(end.numbers, end.round)
        self._begun.flush()

    def close(self, ending: Ending) -> None:
        if self._writer is not None:
            if ending == "finished":
                self._writer.add_summary(_hyper_parameters(self._run.settings)[1])
            self._writer.close()
            self._writer = None

    @property
    def _begun(self) -> FileWriter:
        """The writer of a new event file, which begins with the hyper-parameters."""
        from torch.utils.tensorboard.writer import FileWriter

        if self._writer is None:
            self._writer = FileWriter(str(self._place))
            self._writer.add_summary(_hyper_parameters(self._run.settings)[0])
        return self._writer

    def _add(self, numbers: Metrics, step: int, time: float | None = None) -> None:
        from torch.utils.tensorboard.summary import scalar

        for name, value in numbers.items():
            self._begun.add_summary(scalar(name, value), step, time)


def _hyper_parameters(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return what begins and what ends a session, whose metrics are the scalars."""
    from torch.utils.tensorboard.summary import hparams

    plain = {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value in settings.items()
    }
    _, begins, ends = hparams(plain, {})
    return begins, ends


def _picture(tag: str, path: Path) -> Any:
    """Return a summary with the bytes of a PNG file."""
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    with Image.open(path) as picture:
        width, height = picture.size
    content = path.read_bytes()
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
    return Summary(value=[Summary.Value(tag=tag, image=image)])
