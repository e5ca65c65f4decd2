"""The definition that every backend is held against: ONNX in NumPy, slow, precise and host-only."""

from millstream.reference.interpreter import Prepared, evaluate, prepare, unsupported
from millstream.reference.operators import OPERATORS
from millstream.reference.step import open

__all__ = ["OPERATORS", "Prepared", "evaluate", "open", "prepare", "unsupported"]
