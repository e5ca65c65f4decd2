"""The few things that printed loops need and plain Python cannot say to Numba, as LLVM instructions.

Importing this module imports numba: do so only once a plan is opened.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_UNORDERED = ("reassoc", "contract", "nsz")
_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def _pointer_to(element):
    """A function from an address (int64) to a pointer to `element`."""

    @intrinsic
    def pointer(typing, address):
        def generate(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), generate

    return pointer


#: By dtype. A bool is one byte, as NumPy stores it.
POINTERS = {name: _pointer_to(getattr(types, name)) for name in (*_INTEGERS, "float32", "float64")}
POINTERS["bool"] = _pointer_to(types.uint8)


def _saturate_to(integer):
    """A cast of a float that truncates, holds what is out of range at its limit, and turns NaN to 0."""
    name = "llvm.fptosi.sat" if integer.signed else "llvm.fptoui.sat"

    @intrinsic
    def saturate(typing, x):
        def generate(context, builder, signature, arguments):
            result, operand = ir.IntType(integer.bitwidth), arguments[0].type
            shape = ir.FunctionType(result, [operand])
            function = builder.module.declare_intrinsic(name, [result, operand], shape)
            return builder.call(function, arguments)

        return integer(x), generate

    return saturate


#: Casts of float32 and float64 by dtype of the result.
SATURATE = {name: _saturate_to(getattr(types, name)) for name in _INTEGERS}


@intrinsic
def stay_apart(typing):
    """Keep the function that this stands in out of those that call it: it is called many times."""

    def generate(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def accumulate(typing, total, term):
    """total + term of floats in whatever order is fastest: only the sums of reductions are reordered."""

    def generate(context, builder, signature, arguments):
        return builder.fadd(*arguments, flags=_UNORDERED)

    return total(total, total), generate


@intrinsic
def accumulate_product(typing, total, x, y):
    """total + x * y of floats, fused and in whatever order is fastest."""

    def generate(context, builder, signature, arguments):
        product = builder.fmul(arguments[1], arguments[2], flags=("contract",))
        return builder.fadd(arguments[0], product, flags=_UNORDERED)

    return total(total, total, total), generate


def _safe_divisor(builder, divisor, signed):
    """The divisor with 1 in place of 0, and of -1 when signed: no division traps."""
    trouble = builder.icmp_signed("==", divisor, divisor.type(0))
    if signed:
        trouble = builder.or_(trouble, builder.icmp_signed("==", divisor, divisor.type(-1)))
    return builder.select(trouble, divisor.type(1), divisor)


def _remainder(builder, x, y, signed):
    """Remainder with the sign of the dividend; 0 for a divisor of 0."""
    divide = builder.srem if signed else builder.urem
    return divide(x, _safe_divisor(builder, y, signed))


@intrinsic
def divide_integers(typing, x, y):
    """Quotient truncated towards zero; 0 for a divisor of 0. The lowest integer over -1 wraps."""

    def generate(context, builder, signature, arguments):
        dividend, divisor = arguments
        divide = builder.sdiv if x.signed else builder.udiv
        quotient = divide(dividend, _safe_divisor(builder, divisor, x.signed))
        if x.signed:
            minus_one = builder.icmp_signed("==", divisor, divisor.type(-1))
            quotient = builder.select(minus_one, builder.neg(dividend), quotient)
        zero = builder.icmp_signed("==", divisor, divisor.type(0))
        return builder.select(zero, divisor.type(0), quotient)

    return x(x, x), generate


@intrinsic
def truncated_mod_integers(typing, x, y):
    """Remainder with the sign of the dividend; 0 for a divisor of 0."""

    def generate(context, builder, signature, arguments):
        return _remainder(builder, arguments[0], arguments[1], x.signed)

    return x(x, x), generate


@intrinsic
def floor_mod_integers(typing, x, y):
    """Remainder with the sign of the divisor; 0 for a divisor of 0."""

    def generate(context, builder, signature, arguments):
        remainder = _remainder(builder, arguments[0], arguments[1], x.signed)
        if not x.signed:
            return remainder
        zero = remainder.type(0)
        other_side = builder.icmp_signed("<", builder.xor(remainder, arguments[1]), zero)
        wrong = builder.and_(other_side, builder.icmp_signed("!=", remainder, zero))
        return builder.select(wrong, builder.add(remainder, arguments[1]), remainder)

    return x(x, x), generate


@intrinsic
def power_of_two(typing, exponent):
    """2 ** exponent as float32 for an int32 between -126 and 127: shifted into the exponent's bits."""

    def generate(context, builder, signature, arguments):
        integer = arguments[0].type
        bits = builder.shl(builder.add(arguments[0], integer(127)), integer(23))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def bits_of(typing, x):
    """The bits of a float32 as int32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def float_of(typing, bits):
    """The float32 whose bits are an int32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate
