"""A model run by onnxruntime: the original that an import is held against."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn


class Session:
    """A model that answers by name. Free sizes stay free."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.outputs = [value.name for value in self._session.get_outputs()]

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every output."""
        results = self._session.run(self.outputs, dict(feeds))
        return dict(zip(self.outputs, map(np.asarray, results), strict=True))


class OnnxStep(nn.Module):
    """The step of an imported model in onnxruntime, one stream at a time, in the protocol's layout."""

    def __init__(
        self,
        session: Session,
        input: str,
        outputs: tuple[str, ...],
        states: Mapping[str, str],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        super().__init__()
        self._session, self._input, self._outputs = session, input, outputs
        self._states, self._shapes = states, shapes

    def step(self, x: Tensor, state: Mapping[str, Tensor]) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """One frame (1, ...)."""
        feeds = {self._input: x.numpy().reshape(self._shapes[self._input])}
        feeds |= {name: state[name].numpy().reshape(self._shapes[name]) for name in self._states}
        found = self._session(feeds)
        results = tuple(torch.tensor(with_stream(found[name])) for name in self._outputs)
        after = {
            name: torch.tensor(found[after].reshape(tuple(state[name].shape)))
            for name, after in self._states.items()
        }
        return results, after


def with_stream(value: np.ndarray) -> np.ndarray:
    """An array with the axis of the one stream in front, which is there already when it begins with a 1."""
    return value if value.shape[:1] == (1,) else value[None]
