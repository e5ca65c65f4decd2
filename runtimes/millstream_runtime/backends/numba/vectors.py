"""Vectors for printed loops: a Numba type, and LLVM's instructions on it.

LLVM makes vectors of plain loops too, but of a sum over 40 terms it makes little, and it keeps no block of
totals in registers. Importing this module imports numba: do so only once a plan is opened.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.cgutils import alloca_once, get_or_insert_function
from numba.extending import intrinsic, models, register_model

#: In bytes.
_CACHE_LINE = 64


class Vector(types.Type):
    """`width` numbers of one Numba type in registers."""

    def __init__(self, element: types.Number, width: int) -> None:
        super().__init__(name=f"Vector({element}, {width})")
        self.element = element
        self.width = width


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        element = manager.lookup(vector.element).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, vector.width))


@intrinsic(prefer_literal=True)
def room_for(typing, element, count):
    """A pointer to memory on the stack for `count` numbers of the type of `element`."""
    pointer = types.CPointer(types.unliteral(element))

    def generate(context, builder, signature, arguments):
        array = ir.ArrayType(context.get_value_type(pointer.dtype), count.literal_value)
        room = alloca_once(builder, array)
        return builder.bitcast(room, context.get_value_type(pointer))

    return pointer(element, count), generate


@intrinsic(prefer_literal=True)
def load_vector(typing, pointer, index, width):
    """`width` elements from `index` on, which need no alignment."""
    vector = Vector(pointer.dtype, width.literal_value)

    def generate(context, builder, signature, arguments):
        kind = context.get_value_type(vector)
        address = address_of(builder, arguments[0], arguments[1], kind)
        return builder.load(address, align=vector.element.bitwidth // 8)

    return vector(pointer, index, width), generate


@intrinsic
def store_vector(typing, pointer, index, vector):
    """Store from `index` on."""

    def generate(context, builder, signature, arguments):
        address = address_of(builder, arguments[0], arguments[1], arguments[2].type)
        builder.store(arguments[2], address, align=vector.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(pointer, index, vector), generate


@intrinsic(prefer_literal=True)
def splat(typing, x, width):
    """The same element `width` times."""
    vector = Vector(types.unliteral(x), width.literal_value)

    def generate(context, builder, signature, arguments):
        return repeated(builder, arguments[0], vector.width)

    return vector(x, width), generate


def _elementwise(name):
    @intrinsic
    def operation(typing, x, y):
        def generate(context, builder, signature, arguments):
            return getattr(builder, name)(*arguments)

        return x(x, y), generate

    return operation


add_vectors, subtract_vectors, multiply_vectors = map(_elementwise, ("fadd", "fsub", "fmul"))
add_integer_vectors = _elementwise("add")


@intrinsic
def negative_vectors(typing, x):
    def generate(context, builder, signature, arguments):
        return builder.fneg(arguments[0])

    return x(x), generate


@intrinsic
def absolute_vectors(typing, x):
    def generate(context, builder, signature, arguments):
        kind = arguments[0].type
        name = f"llvm.fabs.v{kind.count}f32"
        function = get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), name)
        return builder.call(function, arguments)

    return x(x), generate


@intrinsic
def float32_vectors(typing, x):
    """Integers as float32."""
    vector = Vector(types.float32, x.width)

    def generate(context, builder, signature, arguments):
        return builder.sitofp(arguments[0], context.get_value_type(vector))

    return vector(x), generate


def _choice(order):
    """The larger or the smaller of each two; NaN when either is."""

    @intrinsic
    def operation(typing, x, y):
        def generate(context, builder, signature, arguments):
            return chosen(builder, order, *arguments)

        return x(x, y), generate

    return operation


maximum_vectors, minimum_vectors = _choice(">"), _choice("<")


def _reduction(join):
    """All lanes joined, half with half until one is left."""

    @intrinsic
    def operation(typing, x):
        def generate(context, builder, signature, arguments):
            value = arguments[0]
            while value.type.count > 1:
                half = value.type.count // 2
                low, high = picked(builder, value, range(half)), picked(builder, value, range(half, 2 * half))
                value = join(builder, low, high)
            return builder.extract_element(value, ir.IntType(32)(0))

        return x.element(x), generate

    return operation


sum_of_vector = _reduction(lambda builder, x, y: builder.fadd(x, y))
max_of_vector = _reduction(lambda builder, x, y: chosen(builder, ">", x, y))
min_of_vector = _reduction(lambda builder, x, y: chosen(builder, "<", x, y))


@intrinsic(prefer_literal=True)
def prefetch(typing, pointer, index, size):
    """Ask for the cache lines of `size` bytes; the addresses need not exist."""

    def generate(context, builder, signature, arguments):
        integer, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        shape = ir.FunctionType(ir.VoidType(), [byte, integer, integer, integer])
        function = get_or_insert_function(builder.module, shape, "llvm.prefetch.p0")
        first = address_of(builder, arguments[0], arguments[1], ir.IntType(8))
        for line in range(0, size.literal_value, _CACHE_LINE):
            address = builder.gep(first, [ir.IntType(64)(line)])
            # To read, into every cache, data.
            builder.call(function, [address, integer(0), integer(3), integer(1)])
        return context.get_dummy_value()

    return types.void(pointer, index, size), generate


def address_of(builder, pointer, index, kind):
    """The address of an element, as that of a `kind`. A literal index may have fewer than 64 bits."""
    word = builder.sext(index, ir.IntType(64)) if index.type.width < 64 else index
    return builder.bitcast(builder.gep(pointer, [word]), kind.as_pointer())


def repeated(builder, value, width):
    """One value in every lane."""
    kind = ir.VectorType(value.type, width)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.IntType(32)(0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), width), None)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), lanes)


def chosen(builder, order, x, y):
    """x where it is above (or below) y or NaN, else y: NaN stays NaN."""
    ordered = builder.fcmp_ordered(order, x, y)
    return builder.select(builder.or_(ordered, builder.fcmp_unordered("uno", x, x)), x, y)


def picked(builder, value, lanes):
    """The lanes of a vector with these numbers."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)
