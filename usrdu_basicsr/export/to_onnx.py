"""Export to ONNX, for ONNX Runtime, TensorRT, OpenVINO and others."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor
from torch.export import ExportedProgram

from usrdu_basicsr.export.check import ExportError, Run, report_failure
from usrdu_basicsr.utils.errors import first_line

OPSET = 18  # oldest opset that torch writes directly, because more programs read it than newer ones
# Log levels during the export. onnx_ir and onnxscript log each step; torch warns about input sizes and about operators
# of torchvision. The result is compared with PyTorch anyway.
LOG_LEVELS = {
    'onnx_ir': logging.WARNING,
    'onnxscript': logging.WARNING,
    'torch.fx.experimental.symbolic_shapes': logging.ERROR,
    'torch.onnx._internal.exporter._schemas': logging.ERROR,
}


def to_onnx(program: ExportedProgram, metadata: Mapping[str, str]) -> bytes:
    """Serialise as ONNX with `input` `(batch, 3, height, width)`, `output`, and the metadata in `metadata_props`.

    Raises:
        ExportError: If torch has no ONNX operator for an operation.
    """
    import onnx

    try:
        with _quiet_exporters():
            exported = torch.onnx.export(
                program, input_names=['input'], output_names=['output'], opset_version=OPSET, dynamo=True, verbose=False
            )
    except RuntimeError as error:
        reason = first_line(error.__cause__ or error)  # the outer message addresses developers of torch
        raise ExportError(
            f'torch {torch.__version__} cannot write this network as ONNX ({reason}). Choose another --format'
        ) from error
    model = cast('torch.onnx.ONNXProgram', exported).model_proto  # only torch's old exporter returns None
    for node in model.graph.node:
        del node.metadata_props[:]  # source locations, with paths of this machine
    del model.graph.value_info[:]  # optional inner shapes, which contain torch's names of the sizes such as 's77'
    for value, prefix in ((model.graph.input[0], ''), (model.graph.output[0], 'output_')):
        for index, name in {0: 'batch', 2: f'{prefix}height', 3: f'{prefix}width'}.items():
            size = value.type.tensor_type.shape.dim[index]
            if size.dim_param:  # otherwise the size is fixed, which the comparison with PyTorch detects
                size.dim_param = name
    onnx.helper.set_model_props(model, dict(metadata))
    return model.SerializeToString()


def run_onnx(data: bytes) -> Run:
    """Load an ONNX file in ONNX Runtime on the CPU. The function raises `ExportError` for inputs that it refuses.

    Raises:
        ExportError: If ONNX Runtime cannot load it.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    try:
        session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    except (errors.Fail, errors.InvalidGraph, errors.NotImplemented) as error:
        raise ExportError(
            f'onnx not written: ONNX Runtime cannot load it ({first_line(error)}). Choose another --format'
        ) from error

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(['output'], {'input': x.numpy()})[0])

    return report_failure('onnx', run, (errors.Fail, errors.InvalidArgument, errors.RuntimeException))


@contextmanager
def _quiet_exporters() -> Iterator[None]:
    """Set `LOG_LEVELS` within a block."""
    previous = {name: logging.getLogger(name).level for name in LOG_LEVELS}
    try:
        for name, level in LOG_LEVELS.items():
            logging.getLogger(name).setLevel(level)
        yield
    finally:
        for name, level in previous.items():
            logging.getLogger(name).setLevel(level)
