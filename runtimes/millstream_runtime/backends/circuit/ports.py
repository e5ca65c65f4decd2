"""What goes through the port of a circuit: `ports.json`, and float tensors as words and back.

A frame is the words of all inputs, one tensor after the other, and the answer those of all outputs: int16,
little-endian. An integer stands for itself times 2^-fraction, and a float becomes one as QuantizeLinear says:
rounded to the nearest, halves to even, and saturated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from millstream_runtime.backends.circuit import PORTS
from millstream_runtime.errors import PlanInvalid
from millstream_runtime.spec import ModelSpec

_WORD = np.iinfo(np.int16)
#: float32 holds no other powers of two, and no circuit needs them.
_MOST_FRACTION = 126
_WHERE = PORTS


@dataclass(frozen=True)
class Tensor:
    """A float32 tensor of one stream by its name in the graph: elements, and fraction bits of its words."""

    name: str
    size: int
    fraction: int


@dataclass(frozen=True)
class Ports:
    """The tensors of a frame and of its answer, in order. An answer may hold values that only the host's part
    of the step reads."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def words_in(self) -> int:
        """Words of a frame."""
        return sum(tensor.size for tensor in self.inputs)

    @property
    def words_out(self) -> int:
        """Words of an answer."""
        return sum(tensor.size for tensor in self.outputs)


def read_ports(data: bytes, spec: ModelSpec) -> Ports:
    """Check and read `ports.json` against the model that it belongs to. Raises PlanInvalid."""
    try:
        document = json.loads(data)
        found = Ports(*(tuple(Tensor(*entry) for entry in document[side]) for side in ("inputs", "outputs")))
    except (ValueError, TypeError, KeyError) as error:
        raise PlanInvalid("the ports cannot be read", where=_WHERE, why=str(error)) from error
    ins = {t.name: (t.shape, t.dtype) for t in (*spec.inputs, *spec.states)}
    outs = {t.name: (t.shape, t.dtype) for t in spec.outputs}
    outs |= {s.next_name: (s.shape, s.dtype) for s in spec.states}
    for tensor in found.inputs:
        if tensor.name not in ins:
            raise PlanInvalid("the circuit reads what the model does not have", where=_WHERE, why=str(tensor))
    for tensor, known in [(t, ins) for t in found.inputs] + [(t, outs) for t in found.outputs]:
        _check(tensor, known)
    if not found.inputs or not found.outputs:
        raise PlanInvalid("a circuit without inputs or outputs", where=_WHERE)
    return found


def words(values: np.ndarray, fraction: int) -> np.ndarray:
    """int16 of float32 values."""
    steps = np.rint(values / np.float32(2.0**-fraction))
    return np.clip(steps, _WORD.min, _WORD.max).astype("<i2")


def reals(integers: np.ndarray, fraction: int) -> np.ndarray:
    """float32 of int16 words."""
    return integers.astype(np.float32) * np.float32(2.0**-fraction)


def _check(tensor: Tensor, known: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
    sensible = isinstance(tensor.name, str) and type(tensor.size) is int and tensor.size > 0
    if not sensible or type(tensor.fraction) is not int or abs(tensor.fraction) > _MOST_FRACTION:
        raise PlanInvalid("a tensor of the port makes no sense", where=_WHERE, why=str(tensor))
    if tensor.name in known:
        shape, dtype = known[tensor.name]
        if int(np.prod(shape)) != tensor.size or dtype != "float32":
            why = f"{tensor.name} has {tensor.size} words for a {dtype} of shape {shape}"
            raise PlanInvalid("a tensor of the port is not that of the model", where=_WHERE, why=why)
