"""From TVMScript to the source text of kernels for a device."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from millstream.errors import KernelsInvalid
from millstream.targets.gpu.helpers import called
from millstream.targets.gpu.script import DYNAMIC, STATIC
from millstream.targets.gpu.words import Words
from millstream.targets.tvm.module import module_of

if TYPE_CHECKING:
    from tvm.ir.transform import Pass

_METAL_OPENING = "#include <metal_stdlib>\nusing namespace metal;\n"
_METAL_UNION = "union __TVMArgUnion {\n int v_int[2];\n};\n"
# Shared memory, which whole vectors are read from: its type, its name, its bytes.
_SHARED = re.compile(r"(?:__local|threadgroup) (\w+) (\w+)\[(\d+)\];")
_METAL_BYTES = {"char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "float": 4}
_VECTOR_OF_CPP = re.compile(r"\b(char|uchar|short|ushort|int|uint|float)([24])\(")
# A vector into the device's memory, which NVIDIA's compiler else takes apart more often than not.
_STORE_OF_CUDA = re.compile(r"\*\((\w+4)\*\)\((at_.*)\) = (.*);")


def cuda_source(functions: Sequence[str], arch: str) -> str:
    """CUDA C++ for one compute capability, such as `sm_90`."""
    text = _source(functions, {"kind": "cuda", "arch": arch})
    return _STORE_OF_CUDA.sub(r"__stwb((\1*)(\2), \3);", text)


def opencl_source(functions: Sequence[str]) -> str:
    """OpenCL C."""
    text = _source(map(_sized, functions), {"kind": "opencl"})
    # TVM writes vectors as C++ does, and its barriers leave out what lies in the device's memory.
    text = _VECTOR_OF_CPP.sub(r"(\1\2)(", text)
    text = _SHARED.sub(r"__local \1 \2[\3] __attribute__((aligned(16)));", text)
    text = text.replace("CLK_LOCAL_MEM_FENCE", "CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE")
    return called(text, lambda helper: helper.opencl) + text


def metal_source(functions: Sequence[str]) -> str:
    """The Metal shading language."""
    text = _source(map(_sized, functions), {"kind": "metal"})
    text = _SHARED.sub(_threadgroup, text)
    # TVM opens every function as if it stood alone.
    text = text.replace(_METAL_OPENING, "").replace(_METAL_UNION, "")
    text = _METAL_OPENING + called(text, lambda helper: helper.metal) + text
    return text.replace("mem_flags::mem_threadgroup", "mem_flags::mem_threadgroup | mem_flags::mem_device")


def _threadgroup(found: re.Match[str]) -> str:
    """Shared memory in Metal: TVM takes the type that it sees there, and the bytes for their number."""
    kind, name, size = found.groups()
    return f"alignas(16) threadgroup {kind} {name}[{int(size) // _METAL_BYTES[kind]}];"


def _sized(function: str) -> str:
    """The function with the size of its shared memory in it."""
    return function.replace(f'"{DYNAMIC}"', f'"{STATIC}"')


def _source(functions: Iterable[str], keys: dict[str, Any]) -> str:
    import tvm

    target, kind = tvm.target.Target(keys), keys["kind"]
    lines = ["class Module:"] + [f"    {line}" for text in functions for line in text.split("\n")]
    module: Any = module_of("\n".join(lines), Words(chooses=kind == "cuda"))
    order = ["blockIdx.x", "blockIdx.y", "threadIdx.x"]
    kernels = {
        name: function.with_attr("target", target).with_attr("tirx.kernel_launch_params", order)
        for name, function in module.functions.items()
    }
    build = tvm.get_global_func(f"target.build.{kind}")
    return str(build(_lowering()(tvm.IRModule(kernels)), target).inspect_source())


def _lowering() -> Pass:
    """What a printed kernel needs; see `millstream.targets.tvm.build` on what is left out, and why.

    All buffers are flat. Flattening them again would hide from the code generator which vectors are whole.
    Words of TVM that need lowering are not used (`words.py`).
    """
    from tvm import s_tir, tirx
    from tvm.ir.transform import Sequential

    return Sequential(
        [
            s_tir.transform.LowerInitBlock(),
            s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
            s_tir.transform.ConvertBlocksToOpaque(),
            s_tir.transform.LowerOpaqueBlock(),
            tirx.transform.VectorizeLoop(),
            tirx.transform.LowerTVMBuiltin(),
        ]
    )


_PRELUDE = """\
/* The kernels of a step. Made by Millstream. */
typedef long long int64_t;
typedef unsigned long long uint64_t;
typedef unsigned int uint;
typedef unsigned short ushort;
typedef unsigned char uchar;
#define CUDART_INF_F __int_as_float(0x7f800000)
#define CUDART_NAN_F __int_as_float(0x7fffffff)
#define CUDART_INF __longlong_as_double(0x7ff0000000000000LL)
#define CUDART_NAN __longlong_as_double(0x7fffffffffffffffLL)
/* Four bytes are an int to TVM, which has no function that makes one of them. */
__device__ inline uint make_uint(uchar x, uchar y, uchar z, uchar w) {
  return (uint)x | (uint)y << 8 | (uint)z << 16 | (uint)w << 24;
}
__device__ inline int make_int(signed char x, signed char y, signed char z, signed char w) {
  return (int)make_uint((uchar)x, (uchar)y, (uchar)z, (uchar)w);
}
"""
# Every product and sum rounds as written, but where the text itself fuses them.
_NVRTC = ("--fmad=false", "--std=c++17", "--disable-warnings")


def without_prelude(source: str) -> str:
    """CUDA C++ without the headers that TVM puts before it: NVIDIA's compiler needs none of them."""
    kernels = source[source.index('extern "C"') :]
    return _PRELUDE + called(kernels, lambda helper: helper.cuda) + kernels


def cubin(source: str, arch: str) -> bytes:
    """Machine code for one compute capability. Raises KernelsInvalid."""
    code, _ = compiled(source, arch)
    return code


def compiled(source: str, arch: str, *options: str) -> tuple[bytes, str]:
    """The same, with further options of NVIDIA's compiler, and what it says. Raises KernelsInvalid."""
    from cuda.bindings import nvrtc  # pyright: ignore[reportAttributeAccessIssue]

    def ask(answer: tuple[Any, ...]) -> Any:
        status, *results = answer
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise KernelsInvalid("the kernels cannot be compiled", where=arch, why=_log(nvrtc, program))
        return results[0] if results else None

    program = None
    program = ask(nvrtc.nvrtcCreateProgram(source.encode(), b"step.cu", 0, [], []))
    given = [option.encode() for option in (f"--gpu-architecture={arch}", *_NVRTC, *options)]
    ask(nvrtc.nvrtcCompileProgram(program, len(given), given))
    code = b" " * ask(nvrtc.nvrtcGetCUBINSize(program))
    ask(nvrtc.nvrtcGetCUBIN(program, code))
    told = _log(nvrtc, program)
    ask(nvrtc.nvrtcDestroyProgram(program))
    return code, told


def _log(nvrtc: Any, program: Any) -> str:
    """What the compiler says."""
    _, size = nvrtc.nvrtcGetProgramLogSize(program)
    # NVIDIA's binding writes into the bytes that it is given, and Python has each single byte but once: an
    # empty log, of one byte, would make every b" " of this process another.
    log = b" " * (size + 1)
    nvrtc.nvrtcGetProgramLog(program, log)
    return log.decode(errors="replace").strip("\0 \n")
