"""Train four byte-level language models on the standard library's text, of one size and with one budget.

    python models/training/byte_language.py                  # train all four and print the table
    python models/training/byte_language.py gla_bytes        # one of them
    python models/training/byte_language.py --evaluate       # read the committed weights again

Each reads the same 600,000 bytes once, in the same order: eight readers side by side, 128 bytes at a
time, each reader's state carried on. On one core that takes from one minute (GLA) to two (Mamba).
Bits per byte are those of the held-out modules, each read from its first byte with an empty state.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

import millstream_models.byte_language as models
from millstream.datasets import python_library
from millstream_models.core.forms import SEQUENCE, Form
from millstream_models.core.shell import StreamModel

FOLDER = Path(models.__file__).parent
READERS, STRETCH, BUDGET = 8, 128, 600_000
LEARNING_RATE = 4e-3


def _frame_by_frame(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence without chunks. With values of width 1 a core spends its time on memory, and a frame's
    state stays in the cache: Mamba trains twice as fast."""
    reads, state = [], past
    for query, key, value, factor in zip(*(x.unbind(1) for x in (q, k, v, decay)), strict=True):
        state = state * factor.unsqueeze(-2) + value.unsqueeze(-1) * key.unsqueeze(-2)
        reads.append((state * query.unsqueeze(-2)).sum(-1))
    return torch.stack(reads, 1), state


FORMS = {"mamba_bytes": replace(SEQUENCE, recur=_frame_by_frame)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a model; all without any")
    parser.add_argument("--evaluate", action="store_true", help="train nothing")
    options = parser.parse_args()
    print("| model | parameters | minutes | bits per byte |\n|---|---:|---:|---:|")
    for name in options.names or models.NAMES:
        model, path, begin = getattr(models, name)(), FOLDER / f"{name}.safetensors", time.monotonic()
        if options.evaluate:
            model.load_state_dict(load_file(path))
        else:
            train(model, FORMS.get(name, SEQUENCE))
            save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
        minutes = (time.monotonic() - begin) / 60
        size = sum(parameter.numel() for parameter in model.parameters())
        print(f"| {name} | {size:,} | {minutes:.1f} | {bits_per_byte(model):.3f} |", flush=True)


def train(model: StreamModel, form: Form) -> None:
    """One pass over the budget; the model is left in evaluation mode."""
    torch.manual_seed(0)
    text = torch.from_numpy(python_library.training_text()[: BUDGET + READERS])
    rows = text[: len(text) // READERS * READERS].view(READERS, -1)
    starts = range(0, rows.shape[1] - STRETCH, STRETCH)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, len(starts), pct_start=0.1)
    state = model.train().initial_state(READERS)
    for start in starts:
        logits, state = model.mix(rows[:, start : start + STRETCH], state, form)
        state = {name: value.detach() for name, value in state.items()}
        loss = _loss(logits, rows[:, start + 1 : start + STRETCH + 1])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


@torch.no_grad()
def bits_per_byte(model: StreamModel, stretch: int = 1024) -> float:
    """Of all held-out modules together; the state is carried over stretches, as in a stream."""
    nats, count = 0.0, 0
    for text in python_library.held_out_texts().values():
        state, row = model.initial_state(1), torch.from_numpy(text)[None]
        for start in range(0, row.shape[1] - 1, stretch):
            wanted = row[:, start + 1 : start + stretch + 1]
            logits, state = model.prefill(row[:, start : start + wanted.shape[1]], state)
            nats += float(_loss(logits, wanted)) * wanted.numel()
            count += wanted.numel()
    return nats / count / math.log(2)


def _loss(logits: Tensor, wanted: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())


if __name__ == "__main__":
    main()
