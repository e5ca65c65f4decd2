"""Training with rounding: the export's integers are those of the last training step, and training pays."""

from __future__ import annotations

import numpy as np
import onnx.numpy_helper
import pytest
import torch
from torch import nn

import millstream
from millstream.errors import NothingToQuantize
from millstream.graph import StepGraph, initializers
from millstream.quantize import FORMATS
from millstream.quantize.aware import INT4, INT4_INT8, TERNARY, Training, aware, settled
from millstream.reference.interpreter import prepare

WAYS = {"w4": INT4, "w4a8": INT4_INT8, "ternary": TERNARY}


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(40, 144), nn.Tanh(), nn.Linear(144, 20))


def _data(rows: int = 512) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs, and what another network of the same kind makes of them."""
    torch.manual_seed(1)
    teacher = nn.Sequential(nn.Linear(40, 24), nn.Tanh(), nn.Linear(24, 20))
    x = torch.randn(rows, 40)
    with torch.no_grad():
        return x, teacher(x)


def _trained(model: nn.Module, steps: int) -> nn.Module:
    x, y = _data()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    return model.eval()


def _exported(model: nn.Module, name: str) -> StepGraph:
    x = _data(32)[0].numpy()
    made = millstream.export(model, x, "onnxruntime", format=FORMATS[name], reparameterize=False)
    return StepGraph(onnx.load_from_string(made.contents.step))


def _outputs(graph: StepGraph, x: torch.Tensor) -> np.ndarray:
    (name,) = [tensor.name for tensor in graph.inputs]
    (output,) = [tensor.name for tensor in graph.outputs]
    return prepare(graph.model)({name: x.numpy()})[output]


@pytest.mark.parametrize(("name", "training"), WAYS.items(), ids=WAYS)
def test_the_export_has_the_integers_of_the_last_training_step(name: str, training: Training) -> None:
    model = _trained(aware(_model(), training), 30)
    graph = _exported(settled(model), name)
    held = initializers(graph.model)
    weights = [layer.weight.detach().numpy() for layer in model.children() if isinstance(layer, nn.Linear)]
    integers = [array for array in held.values() if array.dtype.name == "int4"]
    assert len(integers) == len(weights) == 2
    for weight, values in zip(weights, integers, strict=True):
        values = values.astype(np.float32)
        found = values if values.shape == weight.shape else values.T
        # Steps are those by which the trained weight goes from integer to integer.
        largest = np.abs(found).max(1, keepdims=True) if name != "ternary" else np.float32(1)
        step = np.abs(weight).max(1, keepdims=True) / largest if name != "ternary" else np.abs(weight).max()
        np.testing.assert_array_equal(found * step.astype(np.float32), weight)
    ((name, values),) = ((name, array) for name, array in held.items() if array.dtype.name == "int16")
    bias = model.get_parameter("0.parametrizations.bias.original").detach().numpy()
    rounded = values * held[name.replace(".int16", ".step")]
    np.testing.assert_array_equal(rounded, next(model.children()).bias.detach().numpy())
    assert not np.array_equal(rounded, bias)
    x = _data(64)[0]
    with torch.no_grad():
        want = model(x).numpy()
    np.testing.assert_allclose(_outputs(graph, x), want, rtol=0, atol=2e-6 * np.abs(want).max())


@pytest.mark.parametrize(("name", "gain"), [("w4", 1.1), ("w4a8", 1.1), ("ternary", 4.0)])
def test_trained_with_rounding_a_model_loses_less(name: str, gain: float) -> None:
    x, y = _data()
    model = _trained(_model(), 300)
    before, after = aware(model, WAYS[name]), _trained(aware(model, WAYS[name]), 100)
    with torch.no_grad():
        losses = [float(nn.functional.mse_loss(each(x), y)) for each in (before, after)]
    assert losses[0] > gain * losses[1]


def test_gradients_pass_the_rounding() -> None:
    model = aware(_model(), INT4_INT8)
    x = torch.randn(3, 40, requires_grad=True)
    model(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().min() > 0
    latent = model.get_parameter("0.parametrizations.weight.original")
    assert latent.grad is not None
    assert latent.grad.abs().max() > 0


def test_small_layers_are_left_alone_and_a_model_of_them_is_refused() -> None:
    with pytest.raises(NothingToQuantize, match="no layer"):
        aware(nn.Sequential(nn.Linear(8, 8)), INT4)


def test_the_model_that_is_given_stays_as_it_is() -> None:
    model = _model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    _trained(aware(model, TERNARY), 3)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
