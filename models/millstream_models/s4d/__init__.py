"""S4D: diagonal state spaces."""

from millstream_models.s4d.model import S4D, Complex, bilinear, s4d, s4d_bilinear, zero_order_hold

__all__ = ["S4D", "Complex", "bilinear", "s4d", "s4d_bilinear", "zero_order_hold"]
