"""Hedgehog attention, with its three feature maps."""

from millstream_models.hedgehog.model import (
    HedgehogAttention,
    exponential_map,
    hedgehog,
    hedgehog_joint_softmax,
    hedgehog_two_softmax,
    joint_softmax_map,
    two_softmax_map,
)

__all__ = [
    "HedgehogAttention",
    "exponential_map",
    "hedgehog",
    "hedgehog_joint_softmax",
    "hedgehog_two_softmax",
    "joint_softmax_map",
    "two_softmax_map",
]
