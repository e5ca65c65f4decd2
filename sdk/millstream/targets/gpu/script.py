"""Kernels for a program printed as TVMScript, and how they are launched: the whole step in one, or stage by
stage.

In a whole kernel every block of threads takes a tile of streams through all stages. Streams share nothing but
weights, so no block waits for another, and scratch lies in the memory that the threads of a block share. Stage
by stage, the work of few streams spreads over all of a device, and scratch lies in its memory; stages that
differ only in where their buffers lie share one kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from millstream.targets.gpu.assembler import PARTS, ThreadAssembler
from millstream.targets.gpu.forms import Form, Tile, form_of
from millstream.targets.gpu.placing import Array, array_of, begin_of, of_streams, on_arrays, scratch_bytes
from millstream.targets.gpu.stage import part_bytes, rounds, write_stage
from millstream_runtime.backends.gpu.layout import Launch, Way
from millstream_runtime.occurrence import Shape, accesses, occurrence
from millstream_runtime.program import Program, Stage, item_size

#: Elements at whose multiples operands begin, which TVM must see to make whole vectors.
_UNIT = 8


@dataclass(frozen=True)
class Printed:
    """The functions of kernels, and a way to run the step with them."""

    functions: tuple[str, ...]
    way: Way


def whole(program: Program, tile: Tile, scope: str) -> Printed:
    """The whole step for a tile of streams in one kernel. `scope` is shared memory as TVM calls it:
    `shared.dyn` where its size is said at the launch, else `shared`."""
    name = f"whole_{tile.streams}_{tile.threads}"
    stages = [_Formed.of(of_streams(stage, program, tile.streams), tile) for stage in program.stages]
    scratch = tile.streams * scratch_bytes(program)
    meeting = _meeting(stages, tile)
    arrays = {array_of(buffer, program): buffer for buffer in program.buffers}
    ordered = sorted((a for a, b in arrays.items() if b.role != "scratch"), key=_weights_first)
    bases = {array.name: _tile_of(array, tile) for array in ordered if array.apart}
    write = ThreadAssembler(bases, scratch)
    for stage in stages:
        _write_whole(_Formed(on_arrays(stage.stage, program), stage.form), tile, write)
    kept = {array for array, buffer in arrays.items() if buffer.role == "scratch"}
    views = [_view(array.name, scratch + meeting, array.dtype, scope) for array in sorted(kept, key=_weights_first)]
    body = [*_memory(stages, scratch + meeting, scope, views), *write.lines]
    text = _function(name, [(array.name, array.dtype) for array in ordered], (), tile, body)
    names = tuple("weights" if not a.apart else arrays[a].name for a in ordered)
    launch = Launch(name, 1, scratch + meeting if scope == "shared.dyn" else 0, names, ())
    return Printed((text,), Way(tile.streams, tile.threads, (launch,)))


def by_stages(program: Program, tile: Tile, scope: str) -> Printed:
    """The step as one launch for each stage."""
    buffers = {buffer.name: buffer for buffer in program.buffers}
    printed: dict[Shape, _Single] = {}
    launches = []
    for stage in program.stages:
        found = occurrence(of_streams(stage, program, tile.streams), buffers, _UNIT)
        if found.shape not in printed:
            name = f"stage{len(printed)}_{tile.streams}_{tile.threads}"
            printed[found.shape] = _single(name, found.shape, tile, scope)
        kernel = printed[found.shape]
        roles = {"constant": "weights", "scratch": "scratch"}
        places = [(buffers[place.buffer], place.element) for place in found.places]
        launches.append(
            Launch(
                kernel.name,
                kernel.columns,
                kernel.shared_bytes if scope == "shared.dyn" else 0,
                tuple(roles.get(buffer.role, buffer.name) for buffer, _ in places),
                tuple((begin_of(buffer) + element) // _UNIT for buffer, element in places),
            )
        )
    functions = tuple(kernel.function for kernel in printed.values())
    return Printed(functions, Way(tile.streams, tile.threads, tuple(launches)))


@dataclass(frozen=True)
class _Single:
    """The kernel of one shape of stage; each of its rounds has a block of its own, a column."""

    name: str
    columns: int
    shared_bytes: int
    function: str


def _single(name: str, shape: Shape, tile: Tile, scope: str) -> _Single:
    stage = _Formed.of(shape.stage, tile)
    apart = _apart(shape.stage)
    bases = {
        operand.name: f"T.Cast('int64', from_{operand.name}) * T.int64({_UNIT})"
        + (f" + tile * T.int64({apart[operand.name] * tile.streams})" if apart[operand.name] else "")
        for operand in shape.operands
    }
    write = ThreadAssembler(bases, 0)
    columns, meeting = rounds(stage.stage, stage.form, tile), _meeting([stage], tile)
    write_stage(stage.stage, stage.form, tile, write, "column" if columns > 1 else "0")
    body = [*_memory([stage], meeting, scope, []), *write.lines]
    arrays = [(operand.name, operand.dtype) for operand in shape.operands]
    numbers = [f"from_{operand.name}" for operand in shape.operands]
    return _Single(name, columns, meeting, _function(name, arrays, numbers, tile, body))


def _apart(stage: Stage) -> dict[str, int]:
    """By operand: the elements from one stream to the next."""
    found: dict[str, int] = {}
    for access, _ in accesses(stage):
        found[access.buffer] = access.strides[0]
    return found


@dataclass(frozen=True)
class _Formed:
    """A stage with a first axis of streams, and how the threads of a block share it."""

    stage: Stage
    form: Form

    @classmethod
    def of(cls, stage: Stage, tile: Tile) -> _Formed:
        return cls(stage, form_of(stage, tile))


def _write_whole(formed: _Formed, tile: Tile, write: ThreadAssembler) -> None:
    """All rounds of a stage, and the barrier behind it."""
    count = rounds(formed.stage, formed.form, tile)
    if count == 1:
        write_stage(formed.stage, formed.form, tile, write, "0")
        write.barrier()
        return
    with write.loop(count) as running:
        ((turn, _),) = running.terms
        write_stage(formed.stage, formed.form, tile, write, turn)
        if formed.form.shared:
            write.barrier()
    write.barrier()


def _meeting(stages: Iterable[_Formed], tile: Tile) -> int:
    """Bytes of shared memory in which parts of sums meet."""
    return max((part_bytes(formed.stage, formed.form, tile) for formed in stages), default=0)


def _memory(stages: Iterable[_Formed], size: int, scope: str, views: Sequence[str]) -> Iterator[str]:
    """The memory that the threads of a block share, and its views."""
    if not size:
        return
    yield f'shared = T.alloc_buffer(({size},), "uint8", scope="{scope}")'
    yield from views
    reductions = [formed.stage.reduction for formed in stages if formed.form.shared]
    for dtype in sorted({reduction.operand.dtype for reduction in reductions if reduction}):
        yield _view(f"{PARTS}_{dtype}", size, dtype, scope)


def _view(name: str, size: int, dtype: str, scope: str) -> str:
    count = size // item_size(dtype)
    return f'{name} = T.decl_buffer(({count},), "{_kept(dtype)}", data=shared.data, scope="{scope}")'


def _function(
    name: str, arrays: Sequence[tuple[str, str]], numbers: Sequence[str], tile: Tile, body: Sequence[str]
) -> str:
    """A kernel that takes arrays, then numbers."""
    takes = [f'at_{array}: T.handle("{_kept(dtype)}", "global")' for array, dtype in arrays]
    takes += [f"{number}: T.int32" for number in numbers]
    return "\n".join(
        [
            "@T.prim_func(s_tir=True)",
            f"def {name}({', '.join(takes)}):",
            f'    T.func_attr({{"global_symbol": "{name}", "calling_conv": 2, "tirx.noalias": True}})',
            *(f'    {a} = T.decl_buffer((1,), "{_kept(dtype)}", data=at_{a})' for a, dtype in arrays),
            '    with T.launch_thread("blockIdx.x", 1) as block:',
            '        with T.launch_thread("blockIdx.y", 1) as column:',
            f'            with T.launch_thread("threadIdx.x", {tile.threads}) as thread:',
            "                tile: T.let = T.Cast('int64', block)",
            "                nought: T.let = T.int32(0)",
            *(f"                {line}" for line in body),
        ]
    )


def _kept(dtype: str) -> str:
    """A bool lies in memory as a byte."""
    return "uint8" if dtype == "bool" else dtype


def _tile_of(array: Array, tile: Tile) -> str:
    """Where a block's part of an array begins."""
    return f"tile * T.int64({array.apart * tile.streams})"


def _weights_first(array: Array) -> tuple[bool, int, str]:
    number = array.name.removeprefix("caller")
    return array.apart > 0, int(number) if number.isdigit() else 0, array.name
