"""A program as LLVM functions: one per kind of stage, which its step calls.

The step takes a table of addresses, as `millstream_runtime.backends.table` says; a function of a stage takes
the addresses of its operands. Repeated layers are written and compiled once.
Importing this module imports numba: do so only once a plan is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llvmlite import ir

from millstream_runtime.backends.numba.assembler import LlvmAssembler
from millstream_runtime.backends.numba.cpu import Cpu
from millstream_runtime.backends.numba.values import POINTER, WORD, Builder, Value
from millstream_runtime.kernels.stage import write_stage
from millstream_runtime.occurrence import Place, Shape, occurrence
from millstream_runtime.program import Buffer, Program, item_size

_BYTE = ir.IntType(8)


def write_step(builder: Builder, table: Value, program: Program, cpu: Cpu) -> None:
    """Run a checked program as often as the table says, each time on what lies behind in the caller's
    buffers."""
    buffers = {buffer.name: buffer for buffer in program.buffers}
    words = {buffer.name: word for word, buffer in enumerate(program.callers, start=3)}
    stages = [occurrence([stage], buffers) for stage in program.stages]
    shapes = dict.fromkeys(stage.shape for stage in stages)
    functions = {
        shape: _function(builder.module, f"stage{number}", shape, cpu) for number, shape in enumerate(shapes)
    }
    runs, *bases = (_word(builder, table, number) for number in range(3 + len(words)))
    for run in _runs(builder, runs):
        for stage in stages:
            places = [
                _address(builder, place, buffers[place.buffer], words, bases, run) for place in stage.places
            ]
            builder.call(functions[stage.shape], places)


def _function(module: ir.Module, name: str, shape: Shape, cpu: Cpu) -> ir.Function:
    """A function of the addresses of the shape's operands."""
    kind = ir.FunctionType(ir.VoidType(), [POINTER] * len(shape.operands))
    function = ir.Function(module, kind, name)
    function.linkage = "internal"
    # Called many times, it stays apart from those that call it.
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    builder = Builder(function.append_basic_block())
    begin = function.append_basic_block()
    builder.position_at_end(begin)
    operands = {
        operand.name: argument for operand, argument in zip(shape.operands, function.args, strict=True)
    }
    constants = frozenset(operand.name for operand in shape.operands if operand.is_constant)
    write = LlvmAssembler(builder, cpu, operands, constants)
    for stage in shape.stages:
        write_stage(stage, write)
    builder.ret_void()
    # What lies on the stack stands in the first block.
    builder.position_at_end(function.entry_basic_block)
    builder.branch(begin)
    return function


def _word(builder: Builder, table: Value, number: int) -> Value:
    return builder.load(builder.gep(table, [WORD(number)], source_etype=WORD), typ=WORD)


def _runs(builder: Builder, count: Value) -> Iterator[Value]:
    """A loop around what is written for the number of the run that this gives."""
    before = builder.block
    head, body, after = (builder.append_basic_block() for _ in range(3))
    builder.branch(head)
    builder.position_at_end(head)
    run = builder.phi(WORD)
    run.add_incoming(WORD(0), before)
    builder.cbranch(builder.icmp_unsigned("<", run, count), body, after)
    builder.position_at_end(body)
    yield run
    run.add_incoming(builder.add(run, WORD(1)), builder.block)
    builder.branch(head)
    builder.position_at_end(after)


def _address(
    builder: Builder, place: Place, buffer: Buffer, words: Mapping[str, int], bases: list[Value], run: Value
) -> Value:
    """The address of an element, in this run's part of what the caller owns."""
    width = item_size(buffer.dtype)
    word = words.get(buffer.name, 1 if buffer.role == "constant" else 2)
    place_in_memory = builder.add(bases[word - 1], WORD(buffer.offset + place.element * width))
    if buffer.name in words:
        place_in_memory = builder.add(place_in_memory, builder.mul(run, WORD(buffer.size * width)))
    return builder.inttoptr(place_in_memory, POINTER)
