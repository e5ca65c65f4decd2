"""The kernels of `millstream_runtime.backends.gpu.choosing`, as TVMScript."""

from __future__ import annotations

from millstream_runtime.backends.gpu.choosing import KERNELS, THREADS

_DTYPES = {4: "uint32", 1: "uint8"}


def functions() -> tuple[str, ...]:
    """One for each width of an element."""
    return tuple(_function(name, _DTYPES[width]) for width, name in KERNELS.items())


def _function(name: str, dtype: str) -> str:
    handles = [f'at_{array}: T.handle("{kind}", "global")' for array, kind in _arrays(dtype)]
    lines = ["@T.prim_func(s_tir=True)", f"def {name}({', '.join(handles)}, size: T.int32, apart: T.int32):"]
    lines.append(f'    T.func_attr({{"global_symbol": "{name}", "calling_conv": 2, "tirx.noalias": True}})')
    lines += [
        f'    {array} = T.decl_buffer((1,), "{kind}", data=at_{array})' for array, kind in _arrays(dtype)
    ]
    return "\n".join(
        [
            *lines,
            '    with T.launch_thread("blockIdx.x", 1) as row:',
            '        with T.launch_thread("blockIdx.y", 1) as column:',
            f'            with T.launch_thread("threadIdx.x", {THREADS}) as thread:',
            f"                place: T.let = column * {THREADS} + thread",
            "                with T.If(T.And(place < size, mask[row] != T.uint8(0))):",
            "                    with T.Then():",
            f"                        target[{_at('size')}] = source[{_at('apart')}]",
        ]
    )


def _arrays(dtype: str) -> tuple[tuple[str, str], ...]:
    return ("mask", "uint8"), ("source", dtype), ("target", dtype)


def _at(apart: str) -> str:
    """The place in a row, of rows that many elements apart."""
    return f"T.Cast('int64', row) * T.Cast('int64', {apart}) + T.Cast('int64', place)"
