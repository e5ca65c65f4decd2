"""A trained language model of bytes: reads Python, says how well it guessed, and writes on from a few words.

    python examples/byte_language_model.py gla_bytes.mill
    python examples/byte_language_model.py mlgru_bytes.mill mlgru_bytes "class Stream:"

The same on the command line:

    millstream export gla_bytes -o gla_bytes.mill
"""

from __future__ import annotations

import sys

import numpy as np
import torch

READ = 2000
WRITTEN = 120
TEMPERATURE = 0.5


def bits(logits: np.ndarray, following: np.ndarray) -> float:
    """Mean bits per byte of logits (T, 256) for the bytes (T,) that came."""
    nats = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(following))
    return float(nats) / np.log(2)


def written(stream, prompt: str) -> str:
    """What the model writes after the prompt, one byte drawn at a time."""
    random, text = np.random.default_rng(0), bytearray(prompt.encode())
    logits = stream.push(np.frombuffer(bytes(text), np.uint8).astype(np.int64))[-1]
    for _ in range(WRITTEN):
        weights = np.exp((logits - logits.max()) / TEMPERATURE)
        text.append(int(random.choice(256, p=weights / weights.sum())))
        logits = stream.step(np.array(text[-1], np.int64))
    return text.decode(errors="replace")


def main(
    path: str, name: str = "gla_bytes", prompt: str = "def read(self, ", target: str = "onnxruntime"
) -> None:
    """Export the trained model, read a held-out module byte by byte, and write."""
    import millstream
    import millstream_runtime as ms
    from millstream.datasets import python_library
    from millstream.loading import load

    module = load(name).module
    millstream.export(module, python_library.train(), target).save(path)
    text = python_library.held_out_texts()["bisect"][: READ + 1]
    with ms.load(path).stream() as stream:
        logits = np.stack(stream.push(text[:-1]))
        stream.reset()
        print(written(stream, prompt))
    with torch.no_grad():
        whole = module(torch.tensor(text[None, :-1]))[0].numpy()
    print(f"bits per byte: {bits(logits, text[1:]):.4f} streamed, {bits(whole, text[1:]):.4f} as a whole")
    difference = np.abs(logits - whole).max() / np.abs(whole).max()
    print(f"largest difference from the module: {difference:.1e} of the largest score")


if __name__ == "__main__":
    main(*sys.argv[1:])
