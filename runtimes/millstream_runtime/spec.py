"""What a bundle says about its model: the manifest as frozen dataclasses.

`Manifest.from_json` checks every field and its type, so the rest of the runtime never meets a
malformed manifest; `to_json` is its exact inverse. The meaning of each field is in `docs/bundle.md`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from millstream_runtime.errors import FormatTooNew, ManifestInvalid

FORMAT_VERSION = 1

DTYPES = (
    "float32",
    "float64",
    "float16",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
)

_T = TypeVar("_T")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of the step. `shape` leaves out the leading batch dimension."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    unit: str = ""


@dataclass(frozen=True)
class StateSpec:
    """One state: the graph input `name` is fed by the graph output `next_name` of the step before.

    `fill` is the initial value when it is the same everywhere; when it is None, the initial array
    of shape `shape` is stored in the bundle's `initial.safetensors` under `name`.
    """

    name: str
    next_name: str
    shape: tuple[int, ...]
    dtype: str
    fill: float | int | bool | None


@dataclass(frozen=True)
class Framing:
    """How raw samples become frames: `length` samples each, `hop` samples apart."""

    hop: int
    length: int


@dataclass(frozen=True)
class ModelSpec:
    """The contract of a step: inputs and states in, outputs and next states out, in this order.

    `batch` is None when the leading dimension is free, else the one batch size that the graph takes.
    The first `look_ahead` outputs of a stream belong to no frame. `valid` names the boolean input
    that says whether a frame is real (True) or drains the look-ahead at the end (False); it is
    empty when the model has no look-ahead. It is not counted among `inputs`, but stands after them
    in the graph.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[StateSpec, ...]
    batch: int | None = None
    look_ahead: int = 0
    valid: str = ""
    sample_rate: float | None = None
    framing: Framing | None = None
    labels: tuple[str, ...] = ()

    @property
    def graph_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs in graph order, the `valid` flag last when there is one."""
        if not self.valid:
            return self.inputs
        return (*self.inputs, TensorSpec(self.valid, (), "bool"))


@dataclass(frozen=True)
class Tolerance:
    """A float result agrees when |got - want| <= absolute + relative * max|want| per tensor.

    Integer and boolean tensors must always be equal bit for bit.
    """

    relative: float
    absolute: float
    reason: str


@dataclass(frozen=True)
class Machine:
    """The machine that native code was compiled for; empty fields mean any."""

    system: str = ""
    arch: str = ""
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class Memory:
    """Bytes known before flashing: weights once per model, state and scratch once per stream."""

    weights: int
    state: int
    scratch: int


@dataclass(frozen=True)
class TargetSpec:
    """One compiled target: the backend that opens it and its files under `targets/<name>/`."""

    name: str
    backend: str
    files: tuple[str, ...]
    tolerance: Tolerance
    memory: Memory
    machine: Machine = Machine()


@dataclass(frozen=True)
class Member:
    """Size in bytes and SHA-256 (hex) of one member of the bundle."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`. `model_sha256` is the hash of `step.onnx` and the identity of the model."""

    producer: str
    model: ModelSpec
    model_sha256: str
    targets: tuple[TargetSpec, ...]
    members: Mapping[str, Member]
    provenance: Mapping[str, Any]
    options: Mapping[str, Any]
    format_version: int = FORMAT_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `Manifest.from_json` reads them back to an equal manifest."""
        return _plain(self)

    @classmethod
    def from_json(cls, data: Any) -> Manifest:
        """Check and read a parsed manifest. Raises ManifestInvalid or FormatTooNew."""
        top = _Fields(data, "manifest")
        version = top.take("format_version", _integer)
        if version > FORMAT_VERSION:
            raise FormatTooNew(
                f"format version {version}",
                where="manifest.json",
                why=f"this runtime reads versions up to {FORMAT_VERSION}",
                fix="install a newer millstream, or export the model again with this one",
            )
        manifest = cls(
            format_version=version,
            producer=top.take("producer", _text),
            model=top.take("model", _model),
            model_sha256=top.take("model_sha256", _digest),
            targets=top.take("targets", _many(_target)),
            members=top.take("members", _members),
            provenance=top.take("provenance", _mapping),
            options=top.take("options", _mapping),
        )
        top.done()
        _check_names(manifest)
        return manifest


def _check_names(manifest: Manifest) -> None:
    model = manifest.model
    ins = [t.name for t in model.graph_inputs] + [s.name for s in model.states]
    outs = [t.name for t in model.outputs] + [s.next_name for s in model.states]
    for kind, names in (("input", ins), ("output", outs), ("target", [t.name for t in manifest.targets])):
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ManifestInvalid(f"{kind} name used twice", where="manifest.json", why=", ".join(twice))
    if bool(model.look_ahead) != bool(model.valid):
        raise ManifestInvalid(
            "look_ahead and valid must come together",
            where="manifest.json: model",
            why=f"look_ahead is {model.look_ahead} and valid is {model.valid!r}",
        )
    if model.framing and model.framing.length < model.framing.hop:
        raise ManifestInvalid("a frame is shorter than its hop", where="manifest.json: model.framing")
    for target in manifest.targets:
        for file in target.files:
            if file not in manifest.members:
                raise ManifestInvalid(
                    f"target {target.name} names {file}, which is no member", where="manifest.json"
                )


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value


class _Fields:
    """A JSON object being read: every field must be taken, none may be left over."""

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, dict):
            raise ManifestInvalid(f"expected an object, found {type(data).__name__}", where=where)
        self.left = dict(data)
        self.where = where

    def take(self, name: str, read: Callable[[Any, str], _T]) -> _T:
        where = f"{self.where}.{name}"
        if name not in self.left:
            raise ManifestInvalid("field missing", where=where)
        return read(self.left.pop(name), where)

    def done(self) -> None:
        if self.left:
            raise ManifestInvalid(
                "unknown fields", where=self.where, why=", ".join(sorted(map(str, self.left)))
            )


def _wrong(expected: str, value: Any, where: str) -> ManifestInvalid:
    shown = repr(value)
    return ManifestInvalid(f"expected {expected}", where=where, why=f"found {shown[:60]}")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong("text", value, where)
    return value


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or len(value) > 200 or not value.isprintable():
        raise _wrong("a printable name of at most 200 characters", value, where)
    return value


def _digest(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise _wrong("a SHA-256 in lower-case hex", value, where)
    return value


def _integer(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise _wrong("a non-negative integer", value, where)
    return value


def _positive(value: Any, where: str) -> int:
    if _integer(value, where) == 0:
        raise _wrong("a positive integer", value, where)
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _wrong("a finite number", value, where)
    return float(value)


def _fill(value: Any, where: str) -> float | int | bool:
    if isinstance(value, bool) or (isinstance(value, (int, float)) and math.isfinite(value)):
        return value
    raise _wrong("a finite number or a boolean", value, where)


def _dtype(value: Any, where: str) -> str:
    if value not in DTYPES:
        raise _wrong("a dtype: " + ", ".join(DTYPES), value, where)
    return value


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong("an object", value, where)
    return value


def _many(read: Callable[[Any, str], _T]) -> Callable[[Any, str], tuple[_T, ...]]:
    def read_all(value: Any, where: str) -> tuple[_T, ...]:
        if not isinstance(value, list):
            raise _wrong("a list", value, where)
        return tuple(read(item, f"{where}[{i}]") for i, item in enumerate(value))

    return read_all


def _optional(read: Callable[[Any, str], _T]) -> Callable[[Any, str], _T | None]:
    return lambda value, where: None if value is None else read(value, where)


def _tensor(value: Any, where: str) -> TensorSpec:
    fields = _Fields(value, where)
    tensor = TensorSpec(
        name=fields.take("name", _name),
        shape=fields.take("shape", _many(_integer)),
        dtype=fields.take("dtype", _dtype),
        unit=fields.take("unit", _text),
    )
    fields.done()
    return tensor


def _state(value: Any, where: str) -> StateSpec:
    fields = _Fields(value, where)
    state = StateSpec(
        name=fields.take("name", _name),
        next_name=fields.take("next_name", _name),
        shape=fields.take("shape", _many(_integer)),
        dtype=fields.take("dtype", _dtype),
        fill=fields.take("fill", _optional(_fill)),
    )
    fields.done()
    return state


def _framing(value: Any, where: str) -> Framing:
    fields = _Fields(value, where)
    framing = Framing(hop=fields.take("hop", _positive), length=fields.take("length", _positive))
    fields.done()
    return framing


def _model(value: Any, where: str) -> ModelSpec:
    fields = _Fields(value, where)
    model = ModelSpec(
        name=fields.take("name", _name),
        inputs=fields.take("inputs", _many(_tensor)),
        outputs=fields.take("outputs", _many(_tensor)),
        states=fields.take("states", _many(_state)),
        batch=fields.take("batch", _optional(_positive)),
        look_ahead=fields.take("look_ahead", _integer),
        valid=fields.take("valid", _text),
        sample_rate=fields.take("sample_rate", _optional(_number)),
        framing=fields.take("framing", _optional(_framing)),
        labels=fields.take("labels", _many(_text)),
    )
    fields.done()
    if not model.inputs or not model.outputs:
        raise ManifestInvalid("a model needs at least one input and one output", where=where)
    return model


def _tolerance(value: Any, where: str) -> Tolerance:
    fields = _Fields(value, where)
    tolerance = Tolerance(
        relative=fields.take("relative", _number),
        absolute=fields.take("absolute", _number),
        reason=fields.take("reason", _text),
    )
    fields.done()
    return tolerance


def _memory(value: Any, where: str) -> Memory:
    fields = _Fields(value, where)
    memory = Memory(
        weights=fields.take("weights", _integer),
        state=fields.take("state", _integer),
        scratch=fields.take("scratch", _integer),
    )
    fields.done()
    return memory


def _machine(value: Any, where: str) -> Machine:
    fields = _Fields(value, where)
    machine = Machine(
        system=fields.take("system", _text),
        arch=fields.take("arch", _text),
        features=fields.take("features", _many(_text)),
    )
    fields.done()
    return machine


def _target(value: Any, where: str) -> TargetSpec:
    fields = _Fields(value, where)
    target = TargetSpec(
        name=fields.take("name", _name),
        backend=fields.take("backend", _name),
        files=fields.take("files", _many(_name)),
        tolerance=fields.take("tolerance", _tolerance),
        memory=fields.take("memory", _memory),
        machine=fields.take("machine", _machine),
    )
    fields.done()
    return target


def _members(value: Any, where: str) -> dict[str, Member]:
    members = {}
    for path, entry in _mapping(value, where).items():
        fields = _Fields(entry, f"{where}[{path!r}]")
        members[_name(path, where)] = Member(
            size=fields.take("size", _integer), sha256=fields.take("sha256", _digest)
        )
        fields.done()
    return members
