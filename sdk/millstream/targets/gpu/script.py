"""Kernels for a program printed as TVMScript, and how they are launched: the whole step in one, or in pieces.

In a whole kernel every block of threads takes a tile of streams through all stages. Streams share nothing but
weights, so no block waits for another, and scratch lies in the memory that the threads of a block share.

In pieces (`cutting.py` says where it is cut), scratch that several of them touch lies in the device's memory.
Kernels that differ only in where their buffers lie there are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from millstream.targets.gpu.assembler import MEETING, ThreadAssembler
from millstream.targets.gpu.barriers import barriers
from millstream.targets.gpu.dots import WORD, words_of
from millstream.targets.gpu.forms import Tile
from millstream.targets.gpu.items import Items, meeting_bytes
from millstream.targets.gpu.pieces import Pieces
from millstream.targets.gpu.placing import array_of, begin_of, of_streams, on_arrays, scratch_bytes
from millstream.targets.gpu.stage import write_stage
from millstream.targets.tvm.literal import stored_dtype
from millstream_runtime.backends.gpu.layout import SCRATCH, WEIGHTS, Launch
from millstream_runtime.lanes import DOT
from millstream_runtime.occurrence import Shape, accesses, occurrence
from millstream_runtime.program import Program, Stage, item_size

#: Bytes at whose multiples operands begin, which TVM must see to make whole vectors.
_UNIT = 32
#: The tile of a block.
_TILE = "tile: T.let = T.Cast('int64', block)"
#: Shared memory whose size is said at the launch, as TVM calls it; and where the kernel says it.
DYNAMIC, STATIC = "shared.dyn", "shared"


@dataclass(frozen=True)
class Printed:
    """The functions of kernels, and the launches that make a step with them, with `scratch_bytes` of each
    stream in the device's memory.
    """

    functions: tuple[str, ...]
    launches: tuple[Launch, ...]
    scratch_bytes: int

    @property
    def shared_bytes(self) -> int:
        """The most shared memory that a block needs."""
        return max(launch.shared_bytes for launch in self.launches)


def whole(program: Program, tile: Tile) -> Printed:
    """The whole step for a tile of streams in one kernel."""
    name = f"whole_{tile.streams}_{tile.threads}"
    stages = []
    for stage in program.stages:
        own = of_streams(stage, tile.streams, program)
        stages.append(Items(on_arrays(own, program), tile))
    kept = _kept(program, tile.streams)
    size = kept.size + meeting_bytes(stages)
    arrays = {array_of(buffer, program): buffer for buffer in program.buffers}
    taken = {array: buffer for array, buffer in arrays.items() if buffer.role != "scratch"}
    bases = {
        view.name: f"tile * T.int64({array.apart * tile.streams // view.items})"
        for array in taken
        if array.apart
        for view in _views(array.name, array.dtype)
    }
    write = ThreadAssembler(bases, kept.size)
    write.line(_TILE)
    _write_all(stages, barriers(program.stages, program), write)
    body = [*_memory(stages, size, kept), *write.lines]
    text = _function(name, [(array.name, array.dtype) for array in taken], (), tile, body, alone=False)
    names = tuple(buffer.name if array.apart else WEIGHTS for array, buffer in taken.items())
    return Printed((text,), (Launch(name, tile.streams, tile.threads, 1, size, names, ()),), 0)


@dataclass(frozen=True)
class _Kept:
    """Scratch in the shared memory of a block: its bytes, and its arrays by name and dtype."""

    size: int
    arrays: tuple[tuple[str, str], ...]


def _kept(program: Program, streams: int) -> _Kept:
    """All scratch of a program, for so many streams."""
    arrays = {array_of(buffer, program) for buffer in program.role("scratch")}
    names = sorted((array.name, array.dtype) for array in arrays)
    return _Kept(streams * scratch_bytes(program), tuple(names))


@dataclass(frozen=True)
class _Kernel:
    """A printed kernel; `columns` blocks serve each tile of streams."""

    name: str
    columns: int
    shared_bytes: int
    function: str


#: The kernels of pieces, by all that they are made from. Several ways to step share them.
Known = dict[tuple[Shape, tuple[bool, ...], Tile, bool, int, _Kept], _Kernel]


def in_pieces(cut: Pieces, known: Known) -> Printed:
    """A step as launches, one for each piece; kernels that are not `known` are printed, and are then."""
    buffers = {buffer.name: buffer for buffer in cut.program.buffers}
    launches, functions = [], dict[str, None]()
    for piece in cut.pieces:
        tile, kept = piece.tile, piece.kept
        own = (of_streams(stage, tile.streams, cut.program, kept) for stage in piece.stages)
        found = occurrence([on_arrays(stage, kept) for stage in own], buffers, _UNIT)
        waits = barriers(piece.stages, cut.program, kept)
        key = (found.shape, waits, tile, piece.apart, piece.turns, _kept(kept, tile.streams))
        if key not in known:
            known[key] = _kernel(f"part{len(known)}_{tile.streams}_{tile.threads}", *key)
        kernel = known[key]
        functions[kernel.function] = None
        roles = {"constant": WEIGHTS, "scratch": SCRATCH}
        places = [(buffers[place.buffer], place.element) for place in found.places]
        launches.append(
            Launch(
                kernel.name,
                tile.streams * piece.turns,
                tile.threads,
                kernel.columns,
                kernel.shared_bytes,
                tuple(roles.get(buffer.role, buffer.name) for buffer, _ in places),
                tuple((begin_of(buffer) + element) // _unit(buffer.dtype) for buffer, element in places),
            )
        )
    return Printed(tuple(functions), tuple(launches), scratch_bytes(cut.program))


def _kernel(
    name: str, shape: Shape, waits: Sequence[bool], tile: Tile, is_apart: bool, turns: int, kept: _Kept
) -> _Kernel:
    """The kernel of one shape, a block for each round where they are apart."""
    stages = [Items(stage, tile) for stage in shape.stages]
    apart = _apart(shape.stages)
    bases = {
        view.name: _begin(o.name, view.dtype, apart[o.name] * tile.streams // view.items)
        for o in shape.operands
        for view in _views(o.name, o.dtype)
    }
    write = ThreadAssembler(bases, kept.size)
    columns = stages[0].rounds if is_apart else 1
    with _turns(turns, write):
        if is_apart:
            write_stage(stages[0], write, "column" if columns > 1 else "0")
        else:
            _write_all(stages, waits, write)
    size = kept.size + meeting_bytes(stages)
    body = [*_memory(stages, size, kept), *write.lines]
    arrays = [(operand.name, operand.dtype) for operand in shape.operands]
    numbers = [f"from_{operand.name}" for operand in shape.operands]
    text = _function(name, arrays, numbers, tile, body, alone=len(stages) == 1)
    return _Kernel(name, columns, size, text)


@contextmanager
def _turns(turns: int, write: ThreadAssembler) -> Iterator[None]:
    """What is written within is done for the tile of a block, or for so many frames, one after the other."""
    if turns == 1:
        write.line(_TILE)
        yield
        return
    with write.loop(turns) as running:
        ((turn, _),) = running.terms
        write.line(f"tile: T.let = T.Cast('int64', {turn})")
        yield
        # All of a frame is stored before the next one reads states.
        write.barrier()


@dataclass(frozen=True)
class _View:
    """An array, each of whose elements holds so many `items` of the memory that it shows."""

    name: str
    dtype: str
    items: int


def _views(array: str, dtype: str) -> Iterator[_View]:
    """What the code knows an array as: bytes are words too, where streams are whole words apart."""
    yield _View(array, dtype, 1)
    if dtype == "int8":
        yield _View(words_of(array), WORD, DOT)


def _unit(dtype: str) -> int:
    """The elements at whose multiples operands begin."""
    return _UNIT // item_size(dtype)


def _begin(operand: str, dtype: str, apart: int) -> str:
    """Where a block's part of an operand begins, in elements of a dtype."""
    begin = f"T.Cast('int64', from_{operand}) * T.int64({_unit(dtype)})"
    return f"{begin} + tile * T.int64({apart})" if apart else begin


def _apart(stages: Iterable[Stage]) -> Mapping[str, int]:
    """By operand: the elements from one stream to the next."""
    return {access.buffer: access.strides[0] for stage in stages for access, _ in accesses(stage)}


def _write_all(stages: Sequence[Items], waits: Sequence[bool], write: ThreadAssembler) -> None:
    """All stages of a kernel; `waits` says where scratch asks for a barrier before one."""
    met = False
    for stage, wait in zip(stages, waits, strict=True):
        # Threads meet in the same place in every stage.
        if wait or (stage.meeting_bytes and met):
            write.barrier()
            met = False
        met |= stage.form.shared
        _write_rounds(stage, write)


def _write_rounds(stage: Items, write: ThreadAssembler) -> None:
    if stage.rounds == 1:
        write_stage(stage, write, "0")
        return
    with write.loop(stage.rounds) as running:
        ((turn, _),) = running.terms
        write_stage(stage, write, turn)
        if stage.form.shared:
            write.barrier()


def _memory(stages: Iterable[Items], size: int, kept: _Kept) -> Iterator[str]:
    """The memory that the threads of a block share, and its views."""
    if not size:
        return
    yield f'shared = T.alloc_buffer(({size},), "uint8", scope="{DYNAMIC}")'
    views = (view for array in kept.arrays for view in _views(*array))
    yield from (_view(view.name, size, view.dtype) for view in views)
    for dtype in sorted(set().union(*(items.met_in for items in stages))):
        yield _view(f"{MEETING}_{dtype}", size, dtype)


def _view(name: str, size: int, dtype: str) -> str:
    count = size // item_size(dtype)
    return f'{name} = T.decl_buffer(({count},), "{stored_dtype(dtype)}", data=shared.data, scope="{DYNAMIC}")'


def _function(
    name: str,
    arrays: Sequence[tuple[str, str]],
    numbers: Sequence[str],
    tile: Tile,
    body: Sequence[str],
    alone: bool,
) -> str:
    """A kernel that takes arrays, then numbers.

    The arrays of a stage that is `alone` share no memory. Over several stages they may: scratch is used
    again.
    """
    takes = [f'at_{array}: T.handle("{stored_dtype(dtype)}", "global")' for array, dtype in arrays]
    takes += [f"{number}: T.int32" for number in numbers]
    views = [(array, view) for array, dtype in arrays for view in _views(array, dtype)]
    attributes = f'"global_symbol": "{name}", "calling_conv": 2, "tirx.noalias": {alone}'
    return "\n".join(
        [
            "@T.prim_func(s_tir=True)",
            f"def {name}({', '.join(takes)}):",
            f"    T.func_attr({{{attributes}}})",
            *(
                f'    {v.name} = T.decl_buffer((1,), "{stored_dtype(v.dtype)}", data=at_{array})'
                for array, v in views
            ),
            '    with T.launch_thread("blockIdx.x", 1) as block:',
            '        with T.launch_thread("blockIdx.y", 1) as column:',
            f'            with T.launch_thread("threadIdx.x", {tile.threads}) as thread:',
            "                nought: T.let = T.int32(0)",
            *(f"                {line}" for line in body),
        ]
    )
