"""What the catalogue says of one model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReferenceModel:
    """One model that can be exported by its name.

    Attributes:
        name: what one types.
        factory: `package.module:function`; called without arguments, it gives an untrained module in
            evaluation mode, with the same weights every time.
        summary: one line for people.
        input_shape: shape of one frame, without batch.
        weights: safetensors file relative to this package, or "" where none were trained.
        dataset: module of `millstream.datasets` with the data that the weights were trained on, or "".
        sample_rate: frames per second, with a hop samples per second; None where the front end decides.
        labels: name of each class, or empty.
        input_dtype: "float32", or "int64" for tokens.
        hop: samples from frame to frame, where a frame is cut from a row of samples, or None.
    """

    name: str
    factory: str
    summary: str
    input_shape: tuple[int, ...]
    weights: str = ""
    dataset: str = ""
    sample_rate: float | None = None
    labels: tuple[str, ...] = ()
    input_dtype: str = "float32"
    hop: int | None = None
