"""The catalogue: data that names working factories, in a package that needs nothing but torch."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import millstream_models
from millstream.datasets import japanese_vowels
from millstream_models import CATALOGUE

PACKAGE = Path(millstream_models.__file__).parent


def _factory(entry):
    module, _, function = entry.factory.partition(":")
    return getattr(importlib.import_module(module), function)


def _loaded_after(statement):
    code = f"{statement}; import sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_papers_configuration_has_the_papers_number_of_parameters():
    model = _factory(next(entry for entry in CATALOGUE if entry.name == "lmuformer_kws"))()
    assert sum(p.numel() for p in model.parameters()) == 1_621_796
    assert model.look_ahead == 5


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_a_factory_gives_the_same_module_each_time_and_leaves_the_random_state_alone(entry):
    torch.manual_seed(7)
    untouched = torch.rand(3)
    torch.manual_seed(7)
    first, second = _factory(entry)(), _factory(entry)()
    assert torch.equal(torch.rand(3), untouched)
    assert not first.training
    assert all(torch.equal(t, second.state_dict()[name]) for name, t in first.state_dict().items())


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_an_entry_describes_its_module(entry):
    output = _factory(entry)()(torch.zeros(1, 2, *entry.input_shape, dtype=getattr(torch, entry.input_dtype)))
    assert output.shape[:2] == (1, 2)
    assert not entry.labels or output.shape[2] == len(entry.labels)
    assert not entry.weights or (PACKAGE / entry.weights).is_file()


def test_the_labels_are_the_data_sets():
    entry = next(entry for entry in CATALOGUE if entry.dataset == "japanese_vowels")
    assert entry.labels == japanese_vowels.SPEAKERS
    assert entry.sample_rate == pytest.approx(japanese_vowels.FRAME_RATE)
    assert entry.input_shape == (japanese_vowels.CHANNELS,)


def test_importing_the_catalogue_imports_no_torch():
    assert "torch" not in _loaded_after("import millstream_models")


def test_the_models_import_only_torch_and_the_standard_library():
    allowed = {"torch", "millstream_models", *sys.stdlib_module_names}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            assert {name.partition(".")[0] for name in names} <= allowed, path


def test_the_models_load_nothing_of_the_toolchain():
    loaded = _loaded_after("import millstream_models.lmuformer.naive")
    strangers = {
        "millstream",
        "millstream_runtime",
        "onnx",
        "onnxruntime",
        "tvm",
        "numba",
        "aeon",
        "safetensors",
    }
    assert "torch" in loaded
    assert not loaded & strangers
