"""One stage as the threads of a block share it: their numbers become points, streams and parts of sums."""

from __future__ import annotations

from millstream.targets.gpu.assembler import ThreadAssembler
from millstream.targets.gpu.items import Items
from millstream.targets.gpu.sums import Sums
from millstream.targets.gpu.values import put, store_item
from millstream.targets.tvm.literal import loaded, stored
from millstream_runtime.kernels.assembler import Index, Value
from millstream_runtime.kernels.reductions import COMBINE
from millstream_runtime.program import Reduction


def write_stage(items: Items, write: ThreadAssembler, turn: str) -> None:
    """Write one round, the one whose number is the text `turn`; all threads of the block come through.

    Behind it stands no barrier, but for what the round itself leaves in shared memory.
    """
    reduction = items.stage.reduction
    item, part = items.split(write)
    number = items.number(write, turn, item)
    if reduction is None:
        with write.when(items.exists(number)), write.holding():
            store_item(items, write, items.point(write, number), lambda which: None)
    elif items.form.shared:
        _write_parts(items, reduction, write, (number, item, part))
        write.barrier()
        _join(items, reduction, write, turn)
    else:
        with write.when(items.exists(number)), write.holding():
            point = items.point(write, number)
            store_item(items, write, point, Sums(items, reduction, write).all_parts(point))


def _write_parts(
    items: Items, reduction: Reduction, write: ThreadAssembler, place: tuple[str, str, str]
) -> None:
    """A part of every sum of an item into shared memory; `place` is the item among all, in the round, and the
    part."""
    (number, item, part), dtype = place, reduction.operand.dtype
    with write.when(items.exists(number)), write.holding():
        point = items.point(write, number)
        for which, value in enumerate(Sums(items, reduction, write).part(point, Index(0, ((part, 1),)))):
            meeting = write.part(dtype, _meeting(items, item, part, which))
            write.line(f"{meeting} = {stored(value, dtype)}")


def _meeting(items: Items, item: str, part: str, which: int) -> str:
    """Where a part of a sum lies in shared memory: threads that write together hit different banks."""
    begin = f" + {which * items.apart}" if which else ""
    if items.form.neighbours:
        return f"{item} * {items.form.parts + 1} + {part}{begin}"
    return f"{part} * {items.at_once} + {item}{begin}"


def _join(items: Items, reduction: Reduction, write: ThreadAssembler, turn: str) -> None:
    """The parts of every sum joined in their order, by as many threads as there are sums."""
    results, threads = items.sums * items.at_once, items.tile.threads
    for first in range(0, results, threads):
        sum_number = write.bind(f"thread + {first}" if first else "thread", "int32")
        item, which = sum_number, "0"
        if items.sums > 1:
            item = write.bind(f"T.bitwise_and({sum_number}, {items.at_once - 1})", "int32")
            which = write.bind(f"T.shift_right({sum_number}, {items.at_once.bit_length() - 1})", "int32")
        number = items.number(write, turn, item)
        enough = f"{sum_number} < {results}" if first + threads > results else None
        with write.when(enough), write.when(items.exists(number)), write.holding():
            total = _joined(items, reduction, write, item, which)
            point = items.one(write, items.point(write, number), which)
            value = items.stage.value
            put(write, items.stage.target, value.dtype, [point], [point.value(value, total)])


def _joined(items: Items, reduction: Reduction, write: ThreadAssembler, item: str, which: str) -> Value:
    """The parts of one sum, joined."""
    dtype, parts = reduction.operand.dtype, items.form.parts
    between, step = (parts + 1, 1) if items.form.neighbours else (1, items.at_once)
    begin = write.bind(f"{which} * {items.apart} + {item} * {between}", "int32")
    values = [loaded(write.part(dtype, f"{begin} + {part * step}"), dtype) for part in range(parts)]
    # In a variable: TVM writes Metal without the names, and the larger of two has each of them three times.
    total = write.variable(values[0], dtype)
    for value in values[1:]:
        total.set(write.call(COMBINE[reduction.kind], dtype, dtype, [total.get(), value]))
    return total.get()
