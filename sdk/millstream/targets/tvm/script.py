"""Blocked programs printed as TVMScript: functions that call one function per kind of stage.

They take a table of addresses, as `millstream_runtime.backends.table` says; a function of a stage takes
the addresses of its operands. A bool lies in memory as uint8.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from millstream.targets.tvm.assembler import TextAssembler
from millstream.targets.tvm.levels import Level
from millstream.targets.tvm.literal import stored_dtype
from millstream_runtime.kernels.stage import write_stage
from millstream_runtime.occurrence import Occurrence, Place, Shape, occurrence
from millstream_runtime.program import Buffer, Program, item_size


def print_programs(programs: Mapping[str, Program], level: Level) -> str:
    """The source of a module for one class of CPUs: a function of that name for each program. They share the
    functions of their stages."""
    stages = {name: _occurrences(program) for name, program in programs.items()}
    shapes = dict.fromkeys(stage.shape for found in stages.values() for stage in found)
    names = {shape: f"stage{number}" for number, shape in enumerate(shapes)}
    lines = ["@I.ir_module", "class Module:"]
    for shape, name in names.items():
        lines += [f"    {line}" for line in _function(name, shape, level)]
    for name, program in programs.items():
        lines += [f"    {line}" for line in _step(name, program, stages[name], names, level)]
    return "\n".join(lines) + "\n"


def _occurrences(program: Program) -> list[Occurrence]:
    buffers = {buffer.name: buffer for buffer in program.buffers}
    return [occurrence([stage], buffers) for stage in program.stages]


def _function(name: str, shape: Shape, level: Level) -> Iterator[str]:
    """A function of the addresses of the shape's operands."""
    yield "@T.prim_func(private=True, s_tir=True)"
    yield f"def {name}({', '.join(f'at_{operand.name}: T.handle' for operand in shape.operands)}):"
    # TVM tells LLVM that two names never share memory, which is wrong once this is inlined beside a stage
    # that has other names for it. Addresses that are named anew in a function without promises are exempt.
    yield '    T.func_attr({"tir.noalias": False})'
    for x in shape.operands:
        yield f"    {x.name} = {_declared(x.reach, x.dtype, f'at_{x.name}')}"
    constants = frozenset(operand.name for operand in shape.operands if operand.is_constant)
    write = TextAssembler(level, constants)
    for stage in shape.stages:
        write_stage(stage, write)
    yield from (f"    {line}" for line in write.lines)


def _step(
    name: str, program: Program, stages: list[Occurrence], names: dict[Shape, str], level: Level
) -> Iterator[str]:
    """Every stage in order, as often as the table says, each time on what lies behind in the caller's
    buffers."""
    buffers = {buffer.name: buffer for buffer in program.buffers}
    words = {buffer.name: word for word, buffer in enumerate(program.callers, start=3)}
    yield "@T.prim_func(s_tir=True)"
    yield f"def {name}(table: T.handle):"
    yield f'    T.func_attr({{"global_symbol": "{name}", "tir.noalias": False}})'
    yield f"    words = {_declared(3 + len(words), f'int{level.pointer_bits}', 'table')}"
    yield "    for run in range(words[0]):"
    for stage in stages:
        addresses = ", ".join(_address(place, buffers[place.buffer], words) for place in stage.places)
        yield f"        Module.{names[stage.shape]}({addresses})"


def _address(place: Place, buffer: Buffer, words: Mapping[str, int]) -> str:
    """The address of an element, in this run's part of what the caller owns."""
    width = item_size(buffer.dtype)
    word, within = words.get(buffer.name, 1 if buffer.role == "constant" else 2), place.element * width
    # TVM makes addresses of 64 bits alone; LLVM cuts them to those of the machine.
    terms = [f"T.Cast('int64', words[{word}])"]
    if buffer.name in words:
        terms.append(f"T.Cast('int64', run) * T.int64({buffer.size * width})")
    terms.append(f"T.int64({buffer.offset + within})")
    return f"T.reinterpret(T.handle().ty, {' + '.join(terms)})"


def _declared(size: int, dtype: str, address: str) -> str:
    """Memory of `size` elements at an address. Addresses come without promises that they differ, since
    buffers of scratch share theirs."""
    kept = stored_dtype(dtype)
    pointer = f'T.reinterpret(T.handle("{kept}", "global").ty, {address})'
    return f'T.decl_buffer(({size},), "{kept}", data={pointer})'
