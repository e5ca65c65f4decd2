"""float16 in kernels: the uint16 of its bits, in memory and in registers, which two functions of a device
cast.

TVM's own float16 takes a header of CUDA, and an extension of OpenCL that CPUs and many cards lack. To load
and store it is in the core of each language.
"""

from __future__ import annotations

#: By the dtype that is cast: the name that kernels call. TVM's words cut an f off the end of a name.
NAMES = {"float16": "half_to_float", "float32": "float_to_half"}
CUDA = """\
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
"""
OPENCL = """\
static inline float half_to_float(ushort x) {
  return vload_half(0, (const __private half*)&x);
}
static inline ushort float_to_half(float x) {
  ushort found;
  vstore_half_rte(x, 0, (__private half*)&found);
  return found;
}
"""
METAL = """\
static inline float half_to_float(ushort x) {
  return float(as_type<half>(x));
}
static inline ushort float_to_half(float x) {
  return as_type<ushort>(half(x));
}
"""


def where_called(functions: str, source: str) -> str:
    """The functions, if a source calls them."""
    return functions if any(name in source for name in NAMES.values()) else ""
