"""Opening a bundle: the best backend that opens here, or every reason why none does."""

import dataclasses
import importlib.util
import tracemalloc

import numpy as np
import pytest
from runtime_builders import (
    contents,
    counter,
    load_example,
    running_sum,
    two_inputs,
    with_target_file,
    write_bundle,
)

from millstream.package import write
from millstream_runtime import Limits, errors, load, machine, open_target, read
from millstream_runtime.backends import BACKENDS, load_backend
from millstream_runtime.registers import Registers, aligned
from millstream_runtime.spec import Machine


def without(monkeypatch, library: str) -> None:
    """Make the library impossible to find, as on a machine where it is not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == library else find(name, *a)
    )


def test_load(tmp_path):
    model = load_example(tmp_path, counter())
    assert model.backend == "onnxruntime"
    assert model.spec == counter().spec
    states = model.initial_states(2)
    assert {name: (a.shape, a.dtype.name) for name, a in states.items()} == {
        "n": ((2,), "int64"),
        "h": ((2, 2), "float32"),
        "none": ((2, 0), "float32"),
    }
    np.testing.assert_array_equal(states["h"], [[1, -2], [1, -2]])
    with pytest.raises(errors.BundleTooLarge):
        load(tmp_path / "counter.mill", limits=Limits(member_bytes=1))


def test_a_backend_by_name(tmp_path):
    path = write_bundle(tmp_path, running_sum())
    assert load(path, backend="onnxruntime").backend == "onnxruntime"
    with pytest.raises(errors.BackendUnknown, match="has no target for numba"):
        load(path, backend="numba")
    with pytest.raises(errors.BackendUnknown, match="tvm, numba, relax, onnxruntime"):
        load(path, backend="abacus")


def test_backends_of_the_table_exist():
    for name, _ in BACKENDS:
        backend = load_backend(name)
        assert backend.missing() == ""
        assert callable(backend.open)


def test_no_backend_opens(tmp_path, monkeypatch):
    path = write_bundle(tmp_path, running_sum())
    without(monkeypatch, "onnxruntime")
    with pytest.raises(errors.NoBackendOpens, match=r"pip install 'millstream\[onnxruntime\]'"):
        load(path)
    with pytest.raises(errors.BackendMissing, match="pip install"):
        load(path, backend="onnxruntime")


def test_a_bundle_without_any_target(tmp_path):
    write(tmp_path / "b.mill", dataclasses.replace(contents(running_sum()), targets=()))
    with pytest.raises(errors.NoBackendOpens, match="no target"):
        load(tmp_path / "b.mill")


def test_a_target_that_does_not_open_is_passed_over(tmp_path):
    """A newer Millstream may know more backends; this one opens what it knows."""
    write(tmp_path / "b.mill", with_target_file(contents(running_sum())))
    assert load(tmp_path / "b.mill").backend == "onnxruntime"
    bundle = read(tmp_path / "b.mill")
    with pytest.raises(errors.BackendUnknown):
        open_target(bundle, bundle.manifest.targets[1])


@pytest.mark.parametrize(
    "step", [b"", b"junk", two_inputs().step, running_sum(4).step, running_sum().step[:-40]]
)
def test_onnxruntime_refuses_a_step_that_is_not_the_manifests(tmp_path, step):
    write(tmp_path / "b.mill", dataclasses.replace(contents(running_sum()), step=step))
    with pytest.raises(errors.BackendRefused):
        load(tmp_path / "b.mill", backend="onnxruntime")
    with pytest.raises(errors.NoBackendOpens, match=r"onnxruntime: (onnxruntime does not|the graph's)"):
        load(tmp_path / "b.mill")


@pytest.mark.parametrize("batch", [1, 4])
def test_onnxruntime_writes_into_the_callers_arrays(tmp_path, batch):
    """int64, bool, float32 and an empty state: results land at the addresses that were bound."""
    registers = Registers(load_example(tmp_path, counter()).core, batch)
    addresses = [a.ctypes.data for a in (*registers.outputs, *registers.next_states)]
    registers.inputs[0][...] = np.arange(2 * batch).reshape(batch, 2)
    for count in range(1, 5):
        for output in registers.outputs:
            output[...] = 77
        registers.tick()
        np.testing.assert_array_equal(registers.states[0], np.full(batch, count))
        np.testing.assert_array_equal(registers.outputs[1], np.full(batch, count % 2 == 0))
        np.testing.assert_array_equal(registers.outputs[0], registers.states[1] + np.float32(count))
    assert addresses == [a.ctypes.data for a in (*registers.outputs, *registers.next_states)]


def test_onnxruntime_call_allocates_nothing_that_stays(tmp_path):
    registers = Registers(load_example(tmp_path, counter()).core, 1)
    for _ in range(100):
        registers.tick()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(1000):
            registers.tick()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1000
    assert peak - before < 10_000


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0, 2), (7, 64)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_aligned(shape, dtype):
    array = aligned(shape, dtype)
    assert (array.shape, array.dtype.name) == (shape, dtype)
    assert array.flags.c_contiguous
    assert array.size == 0 or array.ctypes.data % 64 == 0  # what is empty lies nowhere
    assert not array.any()


def test_machine():
    this = machine.here()
    machine.check(Machine())
    machine.check(this)
    assert this.arch
    assert this.system == "linux"
    assert this.features
    for other, named in (
        (Machine(system="plan9"), "plan9"),
        (Machine(arch="pdp11"), "pdp11"),
        (Machine(features=(*this.features[:1], "warp9", "warp10")), "warp9, warp10"),
    ):
        with pytest.raises(errors.MachineMismatch, match=named):
            machine.check(other)
