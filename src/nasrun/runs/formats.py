"""Formats of an exported network: ONNX, and the archive of `torch.export` (PT2).

A format writes a module, traced with its images in a batch of any size, and the facts about its
use; it returns the content of the file, and the function that this content computes. The content
names no source files of the machine that exports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # the command line reads the names of formats
    from torch import Tensor, nn

Computed: TypeAlias = "Callable[[Tensor], Tensor]"
Format: TypeAlias = "Callable[[nn.Module, Tensor, Mapping[str, str]], tuple[bytes, Computed]]"


def onnx(module: nn.Module, images: Tensor, facts: Mapping[str, str]) -> tuple[bytes, Computed]:
    """Return ONNX with the facts as metadata; ValueError without the extra."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise ValueError(
            "format=onnx: needs an extra; type `pip install 'nasrun[onnx]'`, or use format=pt2"
        ) from error
    import torch

    program = torch.onnx.export(
        module,
        (images,),
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=_of_any_number(),
        verbose=False,
    )
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)
    program.model.metadata_props.update(facts)
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0])


def pt2(module: nn.Module, images: Tensor, facts: Mapping[str, str]) -> tuple[bytes, Computed]:
    """Return the archive of `torch.export`, with the facts as its extra files."""
    import torch

    program = torch.export.export(module, (images,), dynamic_shapes=_of_any_number())
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    file = BytesIO()
    torch.export.save(program, file, extra_files=dict(facts))
    content = file.getvalue()
    return content, torch.export.load(BytesIO(content)).module()


def _of_any_number() -> tuple[dict[int, Any]]:
    """Return the shapes of images whose first dimension is a batch of any size."""
    import torch

    return ({0: torch.export.Dim("batch")},)


FORMATS: Mapping[str, Format] = {"onnx": onnx, "pt2": pt2}
"""The formats by their names, which are the suffixes of their files; the first is the default."""
