"""Everything that can go wrong on the host: the sibling of `millstream_runtime.errors`.

Exit codes are the runtime's: 1 a check failed, 2 usage, 3 a tool is missing, 4 unsupported model,
70 internal.
"""

from __future__ import annotations

from millstream_runtime.errors import MillstreamError


class UsageError(MillstreamError):
    """The request cannot be understood: a wrong option, a missing file, a wrong combination."""

    exit_code = 2


class UnknownTarget(UsageError):
    """No target of that name."""


class UnknownFormat(UsageError):
    """No format of quantization of that name."""


class ModelNotFound(UsageError):
    """MODEL names no reference model, no importable factory and no file."""


class FactoryFailed(UsageError):
    """The user's factory raised, or returned something that is no module."""


class CheckpointInvalid(UsageError):
    """The checkpoint cannot be read or does not fit the module."""


class DataInvalid(UsageError):
    """Example or labelled data cannot be read or does not fit the model."""


class FileInTheWay(UsageError):
    """A file that would be written exists already."""


class KeyUnusable(UsageError):
    """The signing key cannot be read or made."""


class WriteFailed(MillstreamError):
    """The result cannot be written: no room, no permission; what was there before is unchanged."""

    exit_code = 2


class ToolMissing(MillstreamError):
    """A package or program that this request needs is not installed."""

    exit_code = 3


class UnsupportedModel(MillstreamError):
    """The model as written cannot become a step graph, or the graph cannot be compiled."""

    exit_code = 4


class NotStreamable(UnsupportedModel):
    """The module does not follow the protocol: forward, step, initial_state."""


class NotCausal(UnsupportedModel):
    """Operators of a whole-sequence module that need the whole sequence; all of them are listed."""


class MutatedBuffer(UnsupportedModel):
    """The step changes a buffer or attribute of the module; that state would be lost silently."""


class OnnxUnusable(UnsupportedModel):
    """An ONNX file that cannot be brought in as it is asked for."""


class TraceFailed(UnsupportedModel):
    """torch.export could not trace the step, or ONNX export could not translate it."""


class UnsupportedOperators(UnsupportedModel):
    """A backend lacks operators that the graph uses; all of them are listed."""


class NothingToQuantize(UnsupportedModel):
    """No weight of the model can be quantized in the format asked for; every reason is listed."""


class ProofFailed(MillstreamError):
    """A rung of the proof ladder failed; nothing was written."""

    exit_code = 1


class BudgetExceeded(MillstreamError):
    """The step takes more flash or RAM than the device has; nothing was written."""

    exit_code = 1


class BudgetMissed(MillstreamError):
    """No way to quantize loses as little as was asked; nothing was written."""

    exit_code = 1


class GraphInvalid(MillstreamError):
    """A step graph breaks the contract; a pass or an exporter is wrong."""


class LinkFailed(MillstreamError):
    """The linker refuses a compiled step; the step asks for something that no library has."""


class KernelsInvalid(MillstreamError):
    """The compiler of a GPU refuses the kernels of a step; what was printed is no good."""


class CallsUnresolved(MillstreamError):
    """A compiled kernel calls functions that its machine does not bring."""

    exit_code = 4


class EmulationFailed(MillstreamError):
    """A step that runs in an emulator stopped there: it faulted, or the emulator did."""

    exit_code = 1


class ProgramInvalid(MillstreamError):
    """A lowered program disagrees with the reference; a pass is wrong."""


class MicrophoneFailed(MillstreamError):
    """The microphone cannot be opened, or samples were lost on the way from it."""

    exit_code = 1
