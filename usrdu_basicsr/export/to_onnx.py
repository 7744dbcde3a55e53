"""ONNX, for ONNX Runtime, TensorRT, OpenVINO and the like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor
from torch.export import ExportedProgram

from usrdu_basicsr.export.check import Run
from usrdu_basicsr.export.errors import ExportError, cannot_run
from usrdu_basicsr.export.quiet import quiet_exporters
from usrdu_basicsr.utils.errors import first_line

OPSET = 18  # the oldest that torch writes itself: more programs read it than newer ones


def to_onnx(program: ExportedProgram, metadata: Mapping[str, str]) -> bytes:
    """An ONNX file: `input` `(batch, 3, height, width)`, `output`, and the metadata in `metadata_props`.

    Raises:
        ExportError: torch has no ONNX operators for what the network does.
    """
    import onnx

    try:
        with quiet_exporters():
            exported = torch.onnx.export(
                program,
                (),
                dynamo=True,
                input_names=['input'],
                output_names=['output'],
                opset_version=OPSET,
                verbose=False,
            )
    except RuntimeError as error:
        reason = first_line(error.__cause__ or error)  # its own message is advice for torch's developers
        raise ExportError(
            f'torch {torch.__version__} cannot write this network as ONNX ({reason}): choose another --format'
        ) from error
    model = cast('torch.onnx.ONNXProgram', exported).model_proto  # None comes from torch's old exporter alone
    for node in model.graph.node:
        del node.metadata_props[:]  # where in the source it is from, with paths of this machine
    # torch's own names of the sizes, 's77' say, are in the inner shapes too, which nothing needs
    del model.graph.value_info[:]
    for value, prefix in ((model.graph.input[0], ''), (model.graph.output[0], 'output_')):
        for index, name in {0: 'batch', 2: f'{prefix}height', 3: f'{prefix}width'}.items():
            size = value.type.tensor_type.shape.dim[index]
            if size.dim_param:  # else it is fixed, which the comparison with PyTorch shall find
                size.dim_param = name
    onnx.helper.set_model_props(model, dict(metadata))
    return model.SerializeToString()


def run_onnx(data: bytes) -> Run:
    """An ONNX file in ONNX Runtime, on the CPU; it raises an `ExportError` where it takes no image of a size.

    Raises:
        ExportError: ONNX Runtime cannot load it.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    try:
        session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    except (errors.Fail, errors.InvalidGraph, errors.NotImplemented) as error:
        raise ExportError(
            f'onnx is not written: ONNX Runtime cannot load it ({first_line(error)}); choose another --format'
        ) from error

    def run(x: Tensor) -> Tensor:
        try:
            return torch.from_numpy(session.run(['output'], {'input': x.numpy()})[0])
        except (errors.Fail, errors.InvalidArgument, errors.RuntimeException) as error:
            raise ExportError(cannot_run('onnx', x, error)) from error

    return run
