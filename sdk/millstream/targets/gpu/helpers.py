"""Functions that kernels call by one name and each language has its own words for. A source gets those that
it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Helper:
    """Functions of these names in each language."""

    names: tuple[str, ...]
    cuda: str
    opencl: str
    metal: str


#: By the dtype that is cast: what casts float16, the uint16 of its bits in memory and in registers. TVM's own
#: float16 takes a header of CUDA, and an extension of OpenCL that CPUs and many cards lack; to load and store
#: it is in the core of each language. TVM's words cut an f off the end of a name.
CASTS = {"float16": "half_to_float", "float32": "float_to_half"}
#: Four products of int8 that lie side by side in two words, added to a sum.
DOT = "dp4a"

_CASTS = Helper(
    tuple(CASTS.values()),
    cuda="""\
__device__ inline float half_to_float(ushort half) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(half));
  return x;
}
__device__ inline ushort float_to_half(float x) {
  ushort half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(x));
  return half;
}
""",
    opencl="""\
static inline float half_to_float(ushort x) {
  return vload_half(0, (const __private half*)&x);
}
static inline ushort float_to_half(float x) {
  ushort found;
  vstore_half_rte(x, 0, (__private half*)&found);
  return found;
}
""",
    metal="""\
static inline float half_to_float(ushort x) {
  return float(as_type<half>(x));
}
static inline ushort float_to_half(float x) {
  return as_type<ushort>(half(x));
}
""",
)
_BYTES = """\
int dp4a(int x, int y, int sum) {{
  char4 a = {bytes}(x), b = {bytes}(y);
  return sum + a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}}
"""
_DOT = Helper(
    (DOT,),
    cuda="#define dp4a __dp4a\n",
    opencl=_BYTES.format(bytes="as_char4"),
    metal=_BYTES.format(bytes="as_type<char4>"),
)


def called(source: str, text: Callable[[Helper], str]) -> str:
    """The functions that a source calls, in the language whose `text` of each is given."""
    return "".join(text(each) for each in (_DOT, _CASTS) if any(f"{name}(" in source for name in each.names))
