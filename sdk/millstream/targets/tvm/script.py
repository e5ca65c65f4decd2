"""A blocked program printed as TVMScript: a module whose `step` calls one function per kind of stage.

Parameters of `step`: the number of streams, then one flat buffer each for `parameters(program)`. Constants
and scratch are one parameter per dtype, because TVM takes two parameters to be two places in memory. A bool
is passed as uint8. Buffers of the caller are only aligned to their elements: TVM assumes 64 bytes unless
told. A function of a stage takes the addresses of its operands.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from millstream.targets.occurrence import Occurrence, Place, Shape, occurrence
from millstream.targets.tvm.point import Names
from millstream.targets.tvm.stage import StagePrinter, stored
from millstream_runtime.program import Buffer, Program, item_size

_CALLER = ("input", "state", "output", "next_state")
_SHARED = ("constant", "scratch")


def parameters(program: Program) -> tuple[Buffer, ...]:
    """The buffers that the printed function takes, in order; constants and scratch merged by dtype."""
    caller = [buffer for role in _CALLER for buffer in program.role(role)]
    return (*_merged(program, "constant"), *_merged(program, "scratch"), *caller)


def _merged(program: Program, role: str) -> Iterator[Buffer]:
    ends: dict[str, int] = {}
    for buffer in program.role(role):
        end = buffer.offset // item_size(buffer.dtype) + buffer.size
        ends[buffer.dtype] = max(end, ends.get(buffer.dtype, 0))
    for dtype, size in sorted(ends.items()):
        yield Buffer(f"{role}.{dtype}", role, dtype, size)


def print_program(program: Program, lanes: int) -> str:
    """The source of a module with `step`; `lanes` float32 fill one vector register."""
    buffers = {buffer.name: buffer for buffer in program.buffers}
    stages = [occurrence(stage, buffers) for stage in program.stages]
    names = {shape: f"stage{n}" for n, shape in enumerate(dict.fromkeys(stage.shape for stage in stages))}
    lines = ["@I.ir_module", "class Module:"]
    for shape, name in names.items():
        lines += [f"    {line}" for line in _function(name, shape, lanes)]
    lines += [f"    {line}" for line in _step(program, stages, names)]
    return "\n".join(lines) + "\n"


def _function(name: str, shape: Shape, lanes: int) -> Iterator[str]:
    """A function of the addresses of the shape's operands."""
    yield "@T.prim_func(private=True, s_tir=True)"
    yield f"def {name}({', '.join(f'at_{operand.name}: T.handle' for operand in shape.operands)}):"
    # TVM tells LLVM that two names never share memory, which is wrong once this is inlined beside a stage
    # that has other names for it. Addresses that are named anew in a function without promises are exempt.
    yield '    T.func_attr({"tir.noalias": False})'
    for x in shape.operands:
        dtype = f'"{stored(x.dtype)}"'
        address = f'T.reinterpret(T.handle({dtype}, "global").ty, at_{x.name})'
        yield f"    {x.name} = T.decl_buffer(({x.reach},), {dtype}, data={address})"
    constants = frozenset(operand.name for operand in shape.operands if operand.is_constant)
    places = {operand.name: (operand.name, "0") for operand in shape.operands}
    names = Names(places, constants, itertools.count().__next__)
    yield from (f"    {line}" for line in StagePrinter(shape.stage, names, lanes).lines())


def _step(program: Program, stages: list[Occurrence], names: dict[Shape, str]) -> Iterator[str]:
    """Every stage in order, for one stream after the other."""
    taken = ["streams: T.int64", *(_parameter(n, b) for n, b in enumerate(parameters(program)))]
    elements = _elements(program)
    yield "@T.prim_func(s_tir=True)"
    yield f"def step({', '.join(taken)}):"
    yield '    T.func_attr({"global_symbol": "step", "tir.noalias": True})'
    yield "    for stream in range(streams):"
    for stage in stages:
        arguments = ", ".join(f"T.address_of({_element(place, elements)})" for place in stage.places)
        yield f"        Module.{names[stage.shape]}({arguments})"


def _parameter(number: int, buffer: Buffer) -> str:
    shared = buffer.role in _SHARED
    shape = str(buffer.size) if shared else f"streams * {buffer.size}"
    align = 64 if shared else item_size(buffer.dtype)
    return f'p{number}: T.Buffer(({shape},), "{stored(buffer.dtype)}", align={align})'


def _element(place: Place, elements: dict[str, tuple[str, str]]) -> str:
    parameter, first = elements[place.buffer]
    return f"{parameter}[{first} + {place.element}]"


def _elements(program: Program) -> dict[str, tuple[str, str]]:
    """For each buffer the parameter that holds it, and the text of its first element's index there."""
    numbers = {buffer.name: number for number, buffer in enumerate(parameters(program))}
    elements = {}
    for buffer in program.buffers:
        if buffer.role in _SHARED:
            number = numbers[f"{buffer.role}.{buffer.dtype}"]
            elements[buffer.name] = (f"p{number}", str(buffer.offset // item_size(buffer.dtype)))
        else:
            elements[buffer.name] = (f"p{numbers[buffer.name]}", f"stream * {buffer.size}")
    return elements
