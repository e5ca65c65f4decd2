"""What TVMScript's words mean on a device: functions that CUDA, OpenCL and Metal call by the same name.

TVM would find these names itself, in a pass that also tries to prove things about every index and takes
minutes over a whole step.
"""

from __future__ import annotations

from typing import Any

_NAMES = {"sqrt": "sqrt", "abs": "fabs", "floor": "floor", "ceil": "ceil", "nearbyint": "rint"}


class Words:
    """TVM's builder with other words for functions of floats; variables are local to a thread.

    `chooses` says that the language has `? :` for what TVM selects. In OpenCL and Metal that is a function,
    ambiguous where the values are conditions or constants, and they get a branch instead.
    """

    def __init__(self, chooses: bool) -> None:
        self._chooses = chooses

    def __getattr__(self, word: str) -> Any:
        from tvm.tirx.script import builder

        name = _NAMES.get(word)
        if name is None:
            return getattr(builder, word)
        return lambda x: builder.call_pure_extern(x.ty.dtype, name, x)

    def alloc_buffer(self, shape: Any, dtype: str, scope: str = "local") -> Any:
        from tvm.tirx.script import builder

        return builder.alloc_buffer(shape, dtype, scope=scope)

    def Select(self, condition: Any, then: Any, otherwise: Any) -> Any:  # noqa: N802, TVM's name
        from tvm.tirx.script import builder

        choose = builder.Select if self._chooses else builder.if_then_else
        return choose(condition, then, otherwise)

    def isnan(self, x: Any) -> Any:
        """Only NaN differs from itself."""
        from tvm.tirx import NE

        return NE(x, x)

    def call_pure_extern(self, dtype: str, name: str, *values: Any) -> Any:
        """A function of C: devices have one name for all dtypes."""
        from tvm.tirx.script import builder

        return builder.call_pure_extern(
            dtype, name.removesuffix("f") if dtype == "float32" else name, *values
        )

    def call_llvm_pure_intrin(self, dtype: str, name: str, *values: Any) -> Any:
        """The one intrinsic of LLVM that is written for one lane: `llvm.fma`."""
        from tvm.tirx.script import builder

        return builder.call_pure_extern(dtype, name.removeprefix("llvm."), *values)
