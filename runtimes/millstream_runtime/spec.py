"""What a bundle says about its model: the manifest as frozen dataclasses.

`Manifest.from_json` checks every field and its type, so the rest of the runtime never meets a
malformed manifest; `to_json` is its exact inverse. The meaning of each field is in `docs/bundle.md`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from millstream_runtime import fields as read
from millstream_runtime.errors import FormatTooNew, ManifestInvalid

FORMAT_VERSION = 2

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

STEP = "step.onnx"
GOLDEN = "golden.safetensors"
INITIAL = "initial.safetensors"
REPORT = "report.json"


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
    of shape `shape` is stored in the bundle's `initial.safetensors` under `name`. Integers or float16 that
    are `rounded` stand for float32: where backends differ in the last bit of that, they may be neighbours.
    """

    name: str
    next_name: str
    shape: tuple[int, ...]
    dtype: str
    fill: float | int | bool | None
    rounded: bool = False


@dataclass(frozen=True)
class Framing:
    """How raw samples become frames: `length` samples each, `hop` samples apart.

    The model's one input then has shape (length, *shape of a sample).
    """

    hop: int
    length: int


@dataclass(frozen=True)
class ModelSpec:
    """The contract of a step: inputs and states in, outputs and next states out, in this order.

    `batch` is None when the leading dimension is free, else the one batch size that the graph takes.
    The first `look_ahead` outputs of a stream belong to no frame. `valid` names the boolean input
    that says whether a frame is real (True) or drains the look-ahead at the end (False); it is
    empty when the model has no look-ahead. It is not counted among `inputs`, but stands after them
    in the graph. `labels` name the elements of the last axis of the first output.
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

    Integer and boolean tensors must always be equal bit for bit, but for the integers of a rounded state.
    A rounded state is held to the same bound, or to the distance of neighbours where that is larger: 1, or
    for float16 that at the largest value.
    """

    relative: float
    absolute: float
    reason: str


@dataclass(frozen=True)
class Machine:
    """The machine that native code was compiled for; empty fields mean any. See `machine.here`."""

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
    """One compiled target: the backend that opens it and the members that it reads.

    `files` are names in the bundle: `step.onnx`, or the target's own under `targets/<name>/`.
    """

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
        given = read.mapping(data, "manifest")
        version = read.positive(given.get("format_version"), "manifest.format_version")
        if version > FORMAT_VERSION:
            raise FormatTooNew(
                f"format version {version}",
                where="manifest.json",
                why=f"this runtime reads versions up to {FORMAT_VERSION}",
                fix="install a newer millstream, or export the model again with this one",
            )
        manifest = _READERS[version](given, "manifest")
        _check_names(manifest)
        _check_model(manifest.model)
        _check_members(manifest)
        return manifest


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value


def _check_names(manifest: Manifest) -> None:
    model = manifest.model
    ins = [t.name for t in model.graph_inputs] + [s.name for s in model.states]
    outs = [t.name for t in model.outputs] + [s.next_name for s in model.states]
    for kind, names in (("input", ins), ("output", outs), ("target", [t.name for t in manifest.targets])):
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ManifestInvalid(f"{kind} name used twice", where="manifest.json", why=", ".join(twice))


def _check_model(model: ModelSpec) -> None:
    where = "manifest.model"
    if not model.inputs or not model.outputs:
        raise ManifestInvalid("a model needs at least one input and one output", where=where)
    if bool(model.look_ahead) != bool(model.valid):
        raise ManifestInvalid(
            "look_ahead and valid must come together",
            where=where,
            why=f"look_ahead is {model.look_ahead} and valid is {model.valid!r}",
        )
    if model.framing:
        _check_framing(model.framing, model.inputs)
    if model.labels and model.outputs[0].shape[-1:] != (len(model.labels),):
        raise ManifestInvalid(
            f"{len(model.labels)} labels for a first output of shape {model.outputs[0].shape}",
            where=f"{where}.labels",
        )
    for state in model.states:
        if state.rounded and not state.dtype.startswith(("int", "float16")):
            raise ManifestInvalid(f"a rounded {state.dtype}", where=f"{where}.states: {state.name}")
        if state.fill is not None and not _fits(state.fill, state.dtype):
            raise ManifestInvalid(
                f"fill {state.fill!r} is no finite {state.dtype}", where=f"{where}.states: {state.name}"
            )


def _check_framing(framing: Framing, inputs: tuple[TensorSpec, ...]) -> None:
    if framing.length < framing.hop:
        raise ManifestInvalid("a frame is shorter than its hop", where="manifest.model.framing")
    if len(inputs) != 1 or inputs[0].shape[:1] != (framing.length,):
        raise ManifestInvalid(
            "framing needs one input whose first dimension is the length of a frame",
            where="manifest.model.framing",
            why=f"length is {framing.length}, inputs have shapes {[t.shape for t in inputs]}",
        )


def _fits(fill: float | int | bool, dtype: str) -> bool:
    """Whether the value has the dtype's kind and range."""
    if dtype == "bool":
        return isinstance(fill, bool)
    if dtype.startswith("float"):
        return not isinstance(fill, bool) and abs(fill) <= float(np.finfo(dtype).max)
    limits = np.iinfo(dtype)
    return type(fill) is int and limits.min <= fill <= limits.max


def _check_members(manifest: Manifest) -> None:
    """The members are exactly those that model and targets call for, and targets keep to their folder."""
    expected = {STEP, GOLDEN, REPORT}
    if any(state.fill is None for state in manifest.model.states):
        expected.add(INITIAL)
    for target in manifest.targets:
        folder = f"targets/{target.name}/"
        for file in target.files:
            if "/" in target.name or not (file == STEP or file.startswith(folder)):
                raise ManifestInvalid(f"a target's file stands outside {folder}", where=f"manifest: {file}")
        expected.update(target.files)
    if expected != set(manifest.members):
        raise ManifestInvalid(
            "the list of members is not what model and targets call for",
            where="manifest.members",
            why=", ".join(sorted(expected ^ set(manifest.members))),
        )
    if manifest.members[STEP].sha256 != manifest.model_sha256:
        raise ManifestInvalid("the hash of step.onnx stands twice and differs", where="manifest.model_sha256")


def _dtype(value: Any, where: str) -> str:
    if value not in DTYPES:
        raise read.wrong("a dtype: " + ", ".join(DTYPES), value, where)
    return value


def _fill(value: Any, where: str) -> float | int | bool:
    return value if isinstance(value, bool | int) else read.number(value, where)


def _members(value: Any, where: str) -> dict[str, Member]:
    return {
        read.name(path, where): _read_member(entry, f"{where}[{path!r}]")
        for path, entry in read.mapping(value, where).items()
    }


_read_member = read.record(Member, size=read.integer, sha256=read.digest)
_read_tensor = read.record(TensorSpec, name=read.name, shape=read.shape, dtype=_dtype, unit=read.text)
_read_target = read.record(
    TargetSpec,
    name=read.name,
    backend=read.name,
    files=read.many(read.name),
    tolerance=read.record(Tolerance, relative=read.number, absolute=read.number, reason=read.text),
    memory=read.record(Memory, weights=read.integer, state=read.integer, scratch=read.integer),
    machine=read.record(Machine, system=read.text, arch=read.text, features=read.many(read.text)),
)


def _manifest_reader(read_state: read.Reader[StateSpec]) -> read.Reader[Manifest]:
    """The reader of a manifest whose states are read so."""
    read_model = read.record(
        ModelSpec,
        name=read.name,
        inputs=read.many(_read_tensor),
        outputs=read.many(_read_tensor),
        states=read.many(read_state),
        batch=read.optional(read.positive),
        look_ahead=read.integer,
        valid=read.text,
        sample_rate=read.optional(read.positive_number),
        framing=read.optional(read.record(Framing, hop=read.positive, length=read.positive)),
        labels=read.many(read.text),
    )
    return read.record(
        Manifest,
        format_version=read.positive,
        producer=read.text,
        model=read_model,
        model_sha256=read.digest,
        targets=read.many(_read_target),
        members=_members,
        provenance=read.mapping,
        options=read.mapping,
    )


_state = {
    "name": read.name,
    "next_name": read.name,
    "shape": read.shape,
    "dtype": _dtype,
    "fill": read.optional(_fill),
}
#: By version: in the first no state was rounded.
_READERS: Mapping[int, read.Reader[Manifest]] = {
    1: _manifest_reader(read.record(StateSpec, **_state)),
    2: _manifest_reader(read.record(StateSpec, **_state, rounded=read.flag)),
}
