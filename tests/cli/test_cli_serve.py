"""`millstream run --serve`: the command around the server of the runtime."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
from serve_client import END, FRAMES, OUTPUTS, Client, ended

import millstream_runtime


def test_clients_get_what_a_stream_gives(bundle, room, tmp_path):
    x = np.load(room / "data.npz")["x"][2]
    path = tmp_path / "s"
    command = [sys.executable, "-m", "millstream", "run", bundle, "--backend", "onnxruntime"]
    command += ["--serve", f"unix:{path}"]
    with ended(subprocess.Popen(command, stderr=subprocess.PIPE)) as process:
        client = Client(path)
        assert client.hello()["labels"] == ["red", "green", "blue"]
        client.send(FRAMES, x.tobytes())
        kind, got = client.read()
        client.send(END)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, process.stderr.read()
    assert kind == OUTPUTS
    with millstream_runtime.load(bundle, "onnxruntime").stream() as stream:
        np.testing.assert_array_equal(np.frombuffer(got, np.float32).reshape(-1, 3), stream.push(x))


def test_an_address_that_is_none(millstream, bundle):
    result = millstream("run", bundle, "--serve", "tcp:8080")
    assert (result.exit_code, "unix:PATH" in result.stderr) == (2, True)
