"""Vectors of float32 for printed loops: a Numba type, and LLVM's instructions on it.

LLVM makes vectors of plain loops too, but of a sum over 40 terms it makes little, and it keeps no block of
totals in registers. Importing this module imports numba: do so only once a plan is opened.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic, models, register_model

_ELEMENT_BYTES = 4
#: In elements.
_CACHE_LINE = 16


class Vector(types.Type):
    """`width` float32 in registers."""

    def __init__(self, width: int) -> None:
        super().__init__(name=f"Vector({width})")
        self.width = width


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, ir.VectorType(ir.FloatType(), vector.width))


def _address(builder, pointer, index, kind):
    """The address of an element, as that of a `kind`."""
    return builder.bitcast(builder.gep(pointer, [index]), kind.as_pointer())


@intrinsic(prefer_literal=True)
def load_vector(typing, pointer, index, width):
    """`width` elements from `index` on, which need no alignment."""
    vector = Vector(width.literal_value)

    def generate(context, builder, signature, arguments):
        kind = context.get_value_type(vector)
        address = _address(builder, arguments[0], _word(builder, arguments[1]), kind)
        return builder.load(address, align=_ELEMENT_BYTES)

    return vector(pointer, index, width), generate


@intrinsic
def store_vector(typing, pointer, index, vector):
    """Store from `index` on."""

    def generate(context, builder, signature, arguments):
        address = _address(builder, arguments[0], _word(builder, arguments[1]), arguments[2].type)
        builder.store(arguments[2], address, align=_ELEMENT_BYTES)
        return context.get_dummy_value()

    return types.void(pointer, index, vector), generate


@intrinsic(prefer_literal=True)
def splat(typing, x, width):
    """The same element `width` times."""
    vector = Vector(width.literal_value)

    def generate(context, builder, signature, arguments):
        kind = context.get_value_type(vector)
        first = builder.insert_element(ir.Constant(kind, ir.Undefined), arguments[0], ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.width), None)
        return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), lanes)

    return vector(types.float32, width), generate


def _elementwise(name):
    @intrinsic
    def operation(typing, x, y):
        def generate(context, builder, signature, arguments):
            return getattr(builder, name)(*arguments)

        return x(x, y), generate

    return operation


add_vectors, subtract_vectors, multiply_vectors = map(_elementwise, ("fadd", "fsub", "fmul"))


@intrinsic
def sum_vector(typing, x):
    """The sum of all lanes, in whatever order is fastest."""

    def generate(context, builder, signature, arguments):
        element, vector = ir.FloatType(), arguments[0].type
        shape = ir.FunctionType(element, [element, vector])
        name = f"llvm.vector.reduce.fadd.v{vector.count}f32"
        function = get_or_insert_function(builder.module, shape, name)
        return builder.call(function, [element(-0.0), arguments[0]], fastmath=("reassoc",))

    return types.float32(x), generate


@intrinsic(prefer_literal=True)
def prefetch(typing, pointer, index, width):
    """Ask for the cache lines of `width` elements; the addresses need not exist."""

    def generate(context, builder, signature, arguments):
        integer, first = ir.IntType(32), _word(builder, arguments[1])
        shape = ir.FunctionType(ir.VoidType(), [arguments[0].type, integer, integer, integer])
        function = get_or_insert_function(builder.module, shape, "llvm.prefetch.p0")
        for line in range(0, width.literal_value, _CACHE_LINE):
            address = builder.gep(arguments[0], [builder.add(first, first.type(line))])
            # To read, into every cache, data.
            builder.call(function, [address, integer(0), integer(3), integer(1)])
        return context.get_dummy_value()

    return types.void(pointer, index, width), generate


def _word(builder, index):
    """An index of 64 bits: a literal may have fewer."""
    return builder.sext(index, ir.IntType(64)) if index.type.width < 64 else index
