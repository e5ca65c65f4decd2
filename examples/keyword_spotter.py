"""Spoken digits, heard as they are said: samples go in as they come, the front end is part of the bundle.

    python examples/keyword_spotter.py keyword_spotter.mill              # recorded digits, one after another
    python examples/keyword_spotter.py keyword_spotter.mill sound.wav    # 8 kHz, one channel
    python examples/keyword_spotter.py keyword_spotter.mill --mic        # until Ctrl-C

On the command line: `millstream export keyword_spotter`, and `millstream run keyword_spotter.mill --mic`.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import torch

NOTHING = "-"
#: Scores are averaged over so many hops of 20 ms; a digit is heard when its own comes so near to nothing's.
SMOOTHED, NEAR = 4, 1.0


def heard(model, chunks: Iterable[np.ndarray]) -> Iterator[tuple[float, str]]:
    """Seconds and digit, once for each digit, while the samples come."""
    labels, seconds = model.spec.labels, model.spec.framing.hop / model.spec.sample_rate
    recent, last = deque(maxlen=SMOOTHED), NOTHING
    with model.stream() as stream:
        for chunk in chunks:
            for scores in stream.push(chunk):
                recent.append(scores)
                mean = np.mean(recent, axis=0) - NEAR * (np.array(labels) == NOTHING)
                label = labels[int(mean.argmax())]
                if label not in (last, NOTHING):
                    yield stream.frames * seconds, label
                last = label


def recorded(digits: str) -> np.ndarray:
    """The prompts of a telephone exchange, one after another: see `millstream.datasets.spoken_digits`."""
    from millstream.datasets import spoken_digits

    return np.concatenate([spoken_digits.recording(f"digits/{digit}") for digit in digits])


def main(path: str, source: str = "", target: str = "onnxruntime") -> None:
    """Export the trained model, and listen."""
    import millstream
    import millstream_runtime as ms
    from millstream.cli.feed import feed
    from millstream.cli.microphone import microphone
    from millstream.datasets import spoken_digits
    from millstream.loading import load

    spotter = load("keyword_spotter")
    about = millstream.About(
        "keyword_spotter", spoken_digits.RATE, spoken_digits.HOP, spotter.reference.labels
    )
    millstream.export(spotter.module, spoken_digits.train(), target, about=about).save(path)

    model = ms.load(path)
    if source:
        sounds = [microphone(model.spec)] if source == "--mic" else feed(source, model.spec)
        for seconds, digit in (found for sound in sounds for found in heard(model, sound)):
            print(f"{seconds:7.2f} s  {digit}", flush=True)
        return
    samples = recorded("8675309421")
    print("heard:", *(digit for _, digit in heard(model, np.array_split(samples, 97))))
    frames = samples[: len(samples) // spoken_digits.HOP * spoken_digits.HOP].reshape(-1, spoken_digits.HOP)
    with torch.no_grad():
        whole = spotter.module(torch.tensor(frames)[None])[0].numpy()
    with model.stream() as stream:
        difference = np.abs(np.stack(stream.push(samples)) - whole).max() / np.abs(whole).max()
    print(f"largest difference from the module: {difference:.1e} of the largest score")


if __name__ == "__main__":
    main(*sys.argv[1:])
