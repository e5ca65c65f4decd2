"""Kernels for a program printed as TVMScript: the whole step in one, or one for each stage.

In a `fused` kernel every block of threads takes a tile of streams through the whole step. Streams share
nothing but weights, so no block waits for another, and scratch lies in the memory that the threads of a block
share. Kernels for single stages spread the work of few streams over the whole device, and their scratch lies in
its memory.

Every kernel takes the address of the weights, of the scratch, and of each buffer of the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from millstream.targets.gpu.assembler import PARTS, ThreadAssembler
from millstream.targets.gpu.forms import Form, Tile, form_of
from millstream.targets.gpu.placing import Array, arrays_of, placed, scratch_bytes
from millstream.targets.gpu.stage import part_bytes, rounds, write_stage
from millstream_runtime.program import Program, Stage, item_size, loaded, stored_into


@dataclass(frozen=True)
class Kernel:
    """A printed kernel: `columns` blocks serve each tile of streams, with `shared_bytes` of shared memory."""

    name: str
    tile: Tile
    columns: int
    shared_bytes: int
    source: str


def fused(name: str, program: Program, tile: Tile, dynamic: bool) -> Kernel:
    """The whole step for a tile of streams. Shared memory that is `dynamic` gets its size at the launch."""
    stages = [_Shared.of(stage, program, tile) for stage in program.stages]
    scratch = tile.streams * scratch_bytes(program)
    meeting = max((part_bytes(s.stage, s.form, tile) for s in stages), default=0)
    memory = _memory(stages, scratch, meeting, "shared.dyn" if dynamic else "shared", local=True)
    bases = _bases(program, tile, local=True)
    write = ThreadAssembler(bases, scratch)
    for stage in stages:
        _write_whole(stage, tile, write)
    lines = [*memory, *write.lines]
    return Kernel(name, tile, 1, scratch + meeting, _function(name, program, tile, 1, lines, local=True))


def single(name: str, program: Program, stage: Stage, tile: Tile, dynamic: bool) -> Kernel:
    """One stage for a tile of streams, each of whose rounds has a block of its own."""
    own = _Shared.of(stage, program, tile)
    meeting = part_bytes(own.stage, own.form, tile)
    memory = _memory([own], 0, meeting, "shared.dyn" if dynamic else "shared", local=False)
    write = ThreadAssembler(_bases(program, tile, local=False), 0)
    columns = rounds(own.stage, own.form, tile)
    write_stage(own.stage, own.form, tile, write, "column" if columns > 1 else "0")
    lines = [*memory, *write.lines]
    return Kernel(name, tile, columns, meeting, _function(name, program, tile, columns, lines, local=False))


@dataclass(frozen=True)
class _Shared:
    """A stage on the memory of a block, and how its threads share it."""

    stage: Stage
    form: Form

    @classmethod
    def of(cls, stage: Stage, program: Program, tile: Tile) -> _Shared:
        buffers = {buffer.name: buffer for buffer in program.buffers}
        own = placed(stage, buffers, arrays_of(program), tile.streams)
        return cls(own, form_of(own, tile))


def _write_whole(shared: _Shared, tile: Tile, write: ThreadAssembler) -> None:
    """All rounds of a stage, and the barrier behind it."""
    count = rounds(shared.stage, shared.form, tile)
    if count == 1:
        write_stage(shared.stage, shared.form, tile, write, "0")
        write.barrier()
        return
    with write.loop(count) as running:
        ((turn, _),) = running.terms
        write_stage(shared.stage, shared.form, tile, write, turn)
        if shared.form.shared:
            write.barrier()
    write.barrier()


def _memory(
    stages: Sequence[_Shared], scratch: int, meeting: int, scope: str, local: bool
) -> Iterator[str]:
    """Views of the memory that the threads of a block share, one for each dtype."""
    if not scratch + meeting:
        return
    yield f'shared = T.alloc_buffer(({scratch + meeting},), "uint8", scope="{scope}")'
    for dtype in sorted(_scratch_dtypes(stages)) if local and scratch else ():
        yield f"scratch_{dtype} = {_view('shared.data', scratch + meeting, dtype, scope)}"
    for dtype in sorted(_meeting_dtypes(stages)):
        yield f"{PARTS}_{dtype} = {_view('shared.data', scratch + meeting, dtype, scope)}"


def _scratch_dtypes(stages: Iterable[_Shared]) -> set[str]:
    names = {name for shared in stages for name in loaded(shared.stage) | stored_into(shared.stage)}
    return {name.removeprefix("scratch_") for name in names if name.startswith("scratch_")}


def _meeting_dtypes(stages: Iterable[_Shared]) -> set[str]:
    reductions = [shared.stage.reduction for shared in stages if shared.form.shared]
    return {reduction.operand.dtype for reduction in reductions if reduction}


def _view(address: str, size: int, dtype: str, scope: str) -> str:
    return f'T.decl_buffer(({size // item_size(dtype)},), "{_kept(dtype)}", data={address}, scope="{scope}")'


def _bases(program: Program, tile: Tile, local: bool) -> Mapping[str, str]:
    """Where a block's part begins of every array that streams have parts of."""
    arrays = {array.name: array for array in arrays_of(program).values()}
    return {
        name: f"tile * T.int64({array.size * tile.streams})"
        for name, array in arrays.items()
        if array.role != "constant" and not (local and array.role == "scratch")
    }


def _function(
    name: str, program: Program, tile: Tile, columns: int, body: Sequence[str], local: bool
) -> str:
    arrays = {array.name: array for array in arrays_of(program).values()}
    if local:
        arrays = {key: array for key, array in arrays.items() if array.role != "scratch"}
    ordered = sorted(arrays.values(), key=_order)
    parameters = ", ".join(f'at_{a.name}: T.handle("{_kept(a.dtype)}", "global")' for a in ordered)
    lines = ["@T.prim_func(s_tir=True)", f"def {name}({parameters}):"]
    lines.append(f'    T.func_attr({{"global_symbol": "{name}", "calling_conv": 2, "tirx.noalias": True}})')
    lines += [
        f'    {a.name} = T.decl_buffer(({a.size},), "{_kept(a.dtype)}", data=at_{a.name})' for a in ordered
    ]
    lines.append('    with T.launch_thread("blockIdx.x", 1) as block:')
    lines.append('        with T.launch_thread("blockIdx.y", 1) as column:')
    lines.append(f'            with T.launch_thread("threadIdx.x", {tile.threads}) as thread:')
    lines.append("                tile: T.let = T.Cast('int64', block)")
    lines.append("                nought: T.let = T.int32(0)")
    lines += [f"                {line}" for line in body]
    return "\n".join(lines)


def _kept(dtype: str) -> str:
    return "uint8" if dtype == "bool" else dtype


def _order(array: Array) -> tuple[int, int, str]:
    """Weights, then scratch, then the caller's, in the order of the program."""
    kind = {"constant": 0, "scratch": 1}.get(array.role, 2)
    return kind, int(array.name.removeprefix("caller")) if kind == 2 else 0, array.name


def parameters(program: Program, local: bool) -> tuple[str, ...]:
    """What a kernel takes, in order: `weights`, `scratch`, or the name of a buffer of the caller."""
    arrays = {array.name: (array, name) for name, array in arrays_of(program).items()}
    kept = [pair for pair in arrays.values() if not (local and pair[0].role == "scratch")]
    words = {"constant": "weights", "scratch": "scratch"}
    return tuple(words.get(array.role, name) for array, name in sorted(kept, key=lambda p: _order(p[0])))
