"""Continuous integrate-and-fire."""

from millstream_models.cif.model import IntegrateAndFire, cif

__all__ = ["IntegrateAndFire", "cif"]
