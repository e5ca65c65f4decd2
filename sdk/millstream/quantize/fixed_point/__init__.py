"""Power-of-two fixed point: the whole step on 16-bit integers, states included.

The quantized graph is the golden model of every circuit: what the reference computes from it, bit for bit.
"""

from millstream.quantize.fixed_point.rewrite import fixed16
from millstream.quantize.fixed_point.saturation import Saturation, saturation

__all__ = ["Saturation", "fixed16", "saturation"]
