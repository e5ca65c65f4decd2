"""The NumPy-only safetensors against the library that defines the format."""

import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from millstream_runtime import safetensors as ours
from millstream_runtime.errors import TensorsInvalid
from millstream_runtime.spec import DTYPES

ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=6).filter(lambda name: name != "__metadata__"),
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(arrays=ARRAYS, metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=1))
def test_bytes_are_those_of_the_library(arrays, metadata):
    mine = ours.dump(arrays, metadata)
    assert mine == safetensors.numpy.save(arrays, metadata or None)
    back, said = ours.load(mine)
    assert said == metadata
    assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in back.items()} == {
        n: (a.dtype, a.shape, a.tobytes()) for n, a in arrays.items()
    }


def test_order_of_the_mapping_does_not_matter():
    a, b = np.arange(3.0), np.arange(2, dtype=np.int8)
    assert ours.dump({"a": a, "b": b}) == ours.dump({"b": b, "a": a})
    assert ours.dump({}, {"p": "1", "q": "2"}) == ours.dump({}, {"q": "2", "p": "1"})


def test_loaded_arrays_cannot_be_written():
    loaded, _ = ours.load(ours.dump({"a": np.zeros(2)}))
    with pytest.raises(ValueError, match="read-only"):
        loaded["a"][0] = 1


def file(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(begin: int, end: int, shape: object = (1,), dtype: object = "F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}  # type: ignore[call-overload]


HOSTILE = {
    "empty": b"",
    "header longer than the file": (2**63).to_bytes(8, "little") + b"{}",
    "no json": file(b"{nonsense"),
    "not utf-8": file(b'{"\xff": 1}'),
    "no object": file(b"[]"),
    "space before the header": file(b" {}"),
    "deep nesting": file(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "name twice": file(b'{"a":%s,"a":%s}' % ((json.dumps(entry(0, 4)).encode(),) * 2), bytes(4)),
    "entry is no object": file({"a": 1}),
    "field missing": file({"a": {"dtype": "F32", "shape": [1]}}),
    "field too many": file({"a": entry(0, 4) | {"stride": 1}}, bytes(4)),
    "unknown dtype": file({"a": entry(0, 4, dtype="F4")}, bytes(4)),
    "dtype of another type": file({"a": entry(0, 4, dtype=[])}, bytes(4)),
    "negative dimension": file({"a": entry(0, 4, shape=[-1])}, bytes(4)),
    "dimension true": file({"a": entry(0, 4, shape=[True])}, bytes(4)),
    "shape and size disagree": file({"a": entry(0, 4, shape=[2])}, bytes(4)),
    "huge shape": file({"a": entry(0, 4, shape=[2**40, 2**40])}, bytes(4)),
    "too many dimensions": file({"a": entry(0, 4, shape=[1] * 65)}, bytes(4)),
    "end before begin": file({"a": entry(4, 0)}, bytes(4)),
    "past the end": file({"a": entry(0, 4)}, bytes(3)),
    "hole": file({"a": entry(4, 8)}, bytes(8)),
    "overlap": file({"a": entry(0, 4), "b": entry(0, 4)}, bytes(4)),
    "bytes left over": file({"a": entry(0, 4)}, bytes(5)),
    "boolean of 2": file({"a": entry(0, 1, dtype="BOOL")}, b"\2"),
    "metadata no texts": file({"__metadata__": {"a": 1}}),
    "metadata no object": file({"__metadata__": "a"}),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused(data):
    with pytest.raises(TensorsInvalid):
        ours.load(data)


def test_a_dtype_outside_the_format_is_not_written():
    with pytest.raises(TensorsInvalid, match="complex64"):
        ours.dump({"a": np.zeros(1, np.complex64)})
