"""Leaky integrators between three small layers: small enough to be wired into logic."""

from millstream_models.leaky.model import LeakyNetwork, leaky_jv

__all__ = ["LeakyNetwork", "leaky_jv"]
