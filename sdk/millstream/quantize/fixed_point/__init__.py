"""Power-of-two fixed point: the whole step on 16-bit integers, states included; weights of 8 bits if asked.

The quantized graph is the golden model of every circuit: what the reference computes from it, bit for bit.
"""

from millstream.quantize.fixed_point.rewrite import fixed16, fixed16_w8
from millstream.quantize.fixed_point.saturation import Saturation, saturation

__all__ = ["Saturation", "fixed16", "fixed16_w8", "saturation"]
