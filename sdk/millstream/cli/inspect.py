"""`millstream inspect`: everything that a bundle says about itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import RenderableType

import millstream_runtime
from millstream.budget import flash, ram
from millstream.cli.arguments import BundlePath, Json
from millstream.cli.device_memory import device_memory
from millstream.cli.output import FAILED, OK, console, facts, print_json, table
from millstream.cli.quantized import details, quantized
from millstream.cli.reparameterized import reparameterized, rewrites
from millstream.cli.state_dtypes import state_dtypes
from millstream.errors import UsageError
from millstream.object_files import code_bytes
from millstream_runtime import plan, signature, strict_json
from millstream_runtime.backends import has_backend
from millstream_runtime.bundle import Bundle
from millstream_runtime.errors import LibraryMissing, SignatureInvalid
from millstream_runtime.spec import REPORT, Machine, ModelSpec, StateSpec, TargetSpec


def inspect(
    bundle: BundlePath,
    program: Annotated[
        bool, typer.Option("--program", help="Show the lowered step instead, loop by loop.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show inputs, outputs, states, memory, targets, proofs and provenance of a bundle; check its hashes."""
    read = millstream_runtime.read(bundle)
    if as_json:
        print_json({"program": _program(read)} if program else _document(read))
    elif program:
        print(_program(read), end="")
    else:
        console().print(*_sections(read), sep="\n\n")


def _program(bundle: Bundle) -> str:
    """The program of the first target that brings one."""
    from millstream.lower.dump import dump

    for target in bundle.manifest.targets:
        files = bundle.files(target)
        if "plan.json" in files:
            return dump(plan.load(files["plan.json"]))
    raise UsageError("no target of this bundle brings a program", fix="export it with --target numba")


def _document(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest.to_json()
    sizes = zip(manifest["model"]["states"], bundle.manifest.model.states, bundle.initial(), strict=True)
    for entry, state, initial in sizes:
        entry["bytes"] = _bytes(state)
        entry["initial"] = initial if state.fill is None else state.fill
    for entry, target in zip(manifest["targets"], bundle.manifest.targets, strict=True):
        entry["file_bytes"] = _file_bytes(bundle, target)
        if not has_backend(target.backend):
            code = code_bytes(bundle.files(target))
            entry |= {"flash_bytes": flash(target.memory, code), "ram_bytes": ram(target.memory)}
    return {"path": bundle.path, **manifest, "report": _report(bundle), "signature": _signature(bundle)}


def _sections(bundle: Bundle) -> Iterator[RenderableType]:
    manifest = bundle.manifest
    model = manifest.model
    yield facts(_overview(bundle))
    tensors = [("input", t) for t in model.inputs] + [("output", t) for t in model.outputs]
    rows = ((kind, t.name, str(t.shape), t.dtype, t.unit or "-") for kind, t in tensors)
    yield table(("", "tensor", "shape", "dtype", "unit"), rows)
    if model.states:
        yield _states(bundle)
    yield _targets(bundle)
    needs = {target.name: _device(bundle, target) for target in manifest.targets}
    yield facts(needs, title="machine that each target needs")
    yield table(("member", "bytes"), ((name, member.size) for name, member in manifest.members.items()))
    report = _report(bundle)
    yield _ladder(report)
    if isinstance(report, dict) and report.get("fallbacks"):
        yield _fallbacks(report["fallbacks"])
    if isinstance(report, dict) and "reparameterization" in report:
        yield reparameterized(report["reparameterization"])
        yield from rewrites(report["reparameterization"])
    if isinstance(report, dict) and "quantization" in report:
        yield quantized(report["quantization"])
        yield from details(report["quantization"])
    if isinstance(report, dict) and "states" in report:
        yield state_dtypes(report["states"])
    yield facts(_texts(manifest.options), title="options")
    yield facts(_texts(manifest.provenance), title="provenance")


def _overview(bundle: Bundle) -> dict[str, object]:
    manifest, model = bundle.manifest, bundle.manifest.model
    return {
        "bundle": bundle.path,
        "model": model.name,
        "identity": manifest.model_sha256,
        "made by": manifest.producer,
        "batch": "any" if model.batch is None else model.batch,
        "look-ahead": f"{model.look_ahead} frames",
        "sample rate": "" if model.sample_rate is None else f"{model.sample_rate:g} Hz",
        "framing": _framing(model),
        "labels": ", ".join(model.labels),
        "signature": _signature_text(_signature(bundle)),
    }


def _framing(model: ModelSpec) -> str:
    framing = model.framing
    return f"{framing.length} samples a frame, {framing.hop} from frame to frame" if framing else ""


def _states(bundle: Bundle) -> RenderableType:
    states = bundle.manifest.model.states
    rows = [
        (state.name, str(state.shape), state.dtype, _bytes(state), _initial(state, initial))
        for state, initial in zip(states, bundle.initial(), strict=True)
    ]
    total = sum(_bytes(state) for state in states)
    title = f"states: {total:,} bytes per stream"
    return table(("state", "shape", "dtype", "bytes", "initial"), rows, title)


def _bytes(state: StateSpec) -> int:
    return int(np.prod(state.shape)) * np.dtype(state.dtype).itemsize


def _initial(state: StateSpec, initial: np.ndarray) -> str:
    if state.fill is not None:
        return str(state.fill)
    return f"stored, from {initial.min():g} to {initial.max():g}"


def _targets(bundle: Bundle) -> RenderableType:
    columns = ("target", "backend", "tolerance", "weights B", "state B", "scratch B", "files B")
    return table(columns, (_target(bundle, target) for target in bundle.manifest.targets))


def _target(bundle: Bundle, target: TargetSpec) -> tuple[object, ...]:
    memory, allowed = target.memory, target.tolerance
    tolerance = f"{allowed.relative:g} of the largest + {allowed.absolute:g}"
    sizes = (memory.weights, memory.state, memory.scratch, _file_bytes(bundle, target))
    return target.name, target.backend, tolerance, *sizes


def _device(bundle: Bundle, target: TargetSpec) -> str:
    """The machine, and where it has no Python the memory that it must have."""
    machine = _machine(target.machine)
    if has_backend(target.backend):
        return machine
    return f"{machine}, without Python: {device_memory(target.memory, bundle.files(target))}"


def _machine(machine: Machine) -> str:
    return " ".join(filter(None, (machine.system, machine.arch, *machine.features))) or "any"


def _file_bytes(bundle: Bundle, target: TargetSpec) -> int:
    return sum(bundle.manifest.members[name].size for name in target.files)


def _report(bundle: Bundle) -> Any:
    try:
        return strict_json.loads(bundle.members[REPORT])
    except ValueError as error:
        raise UsageError("the report is no JSON", where=REPORT, why=str(error)) from error


def _ladder(report: Any) -> RenderableType:
    rungs = report.get("ladder", ()) if isinstance(report, dict) else ()
    rows = (
        (OK if rung.get("passed") else FAILED, *(_shown(rung.get(key)) for key in _RUNG_COLUMNS))
        for rung in rungs
    )
    return table(("", *_RUNG_COLUMNS), rows, title="proved when it was exported")


_RUNG_COLUMNS = ("claim", "difference", "bound", "detail")


def _shown(value: object) -> str:
    return f"{value:.1e}" if isinstance(value, float) else "" if value is None else str(value)


def _fallbacks(detours: Any) -> RenderableType:
    """Which target took the place of which, and what the chosen one could not run."""
    rows = (
        (detour["chosen"], detour["taken"], gap["operator"], gap["origin"] or gap["node"], gap["why"])
        for detour in detours
        for gap in detour["gaps"]
    )
    columns = ("chosen", "taken", "for lack of", "in", "why")
    return table(columns, rows, title="targets that took the place of others")


def _signature(bundle: Bundle) -> dict[str, Any]:
    """Whether there is one, by which key, and whether it belongs to this bundle (None: cannot be checked)."""
    if bundle.signature is None:
        return {"present": False}
    try:
        key = signature.public_key(bundle.signature)
        millstream_runtime.read(bundle.path, trusted_keys=[key])
    except SignatureInvalid as error:
        return {"present": True, "valid": False, "why": str(error)}
    except LibraryMissing as error:
        return {"present": True, "valid": None, "why": str(error)}
    return {"present": True, "valid": True, "public_key": key}


def _signature_text(found: Mapping[str, Any]) -> str:
    if not found["present"]:
        return "none"
    return f"by {found['public_key']}" if found["valid"] else found["why"]


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """JSON values as short texts."""
    return {
        name: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for name, v in values.items()
    }
