"""What cannot stream is refused by its operator and its line, all at once, with what would help."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from whole_sequence_modules import Composed

from millstream.errors import MutatedBuffer, NotCausal, TraceFailed
from millstream.streamify import streamify

_FRAMES = torch.randn(3, 30, 8, generator=torch.Generator().manual_seed(1))
_LINE = re.compile(r"\w+\.py:\d+")


def _attended(x: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])[:, 0]


REFUSED: dict[str, tuple[Callable[..., object], list[nn.Module], str]] = {
    "bidirectional": (
        lambda x, g: g(x)[0],
        [nn.GRU(8, 3, bidirectional=True, batch_first=True)],
        "gru.*bidirectional=False",
    ),
    "statistics of the sequence": (
        lambda x, n: n(x.transpose(1, 2)),
        [nn.GroupNorm(2, 8)],
        "group_norm.*LayerNorm",
    ),
    "mean taken away": (lambda x: x - x.mean(1, keepdim=True), [], "sub.*running mean"),
    "softmax over time": (lambda x: x.softmax(1), [], "softmax.*windowed attention"),
    "turned round": (lambda x: x.flip(1), [], "flip.*backwards"),
    "rolled": (lambda x: x.roll(1, 1), [], "roll.*pad on the left"),
    "attention to everything": (_attended, [], "scaled_dot_product_attention.*is_causal=True"),
    "attention to all before": (
        lambda x: functional.scaled_dot_product_attention(*[x[:, None]] * 3, is_causal=True),
        [],
        "more with every frame.*window=N",
    ),
    "a table of positions": (
        lambda x, e: x + e(torch.arange(x.shape[1])),
        [nn.Embedding(500, 8)],
        "embedding.*rotary",
    ),
    "learned positions": (
        lambda x, e: x + e.weight[: x.shape[1]],
        [nn.Embedding(500, 8)],
        "one row per position.*rotary",
    ),
    "divided by the length": (lambda x: x / x.shape[1], [], "length of the sequence"),
    "reflected": (
        lambda x: functional.pad(x.transpose(1, 2), (2, 0), mode="reflect"),
        [],
        "reflect padding.*zeros",
    ),
    "first frames only": (lambda x: x[:, :10], [], "first frames"),
    "selected frames": (lambda x: x[x.sum(-1) > 0], [], "depends on the values.*torch.where"),
    "a loop": (
        lambda x, a: torch.stack([a(x[:, t]) for t in range(x.shape[1])], 1),
        [nn.Linear(8, 3)],
        r"loop over the frames.*step\(x, state\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_its_name_its_line_and_a_way_out(name: str) -> None:
    compute, layers, message = REFUSED[name]
    with pytest.raises(NotCausal) as caught:
        streamify(Composed(compute, *layers).eval(), _FRAMES)
    told = str(caught.value)
    assert re.search(message, told, re.DOTALL), told
    assert _LINE.search(told), told


def test_everything_is_refused_at_once_with_module_paths() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.GroupNorm(2, 8)
            self.back = nn.LSTM(8, 4, batch_first=True, bidirectional=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.back(self.norm(x.transpose(1, 2)).transpose(1, 2))[0].flip(1)

    with pytest.raises(NotCausal) as caught:
        streamify(Two().eval(), _FRAMES)
    told = str(caught.value)
    assert "3 operators" in told
    assert "group_norm at norm" in told
    assert "lstm at back" in told
    assert "flip at" in told


class _Keeps(nn.Module):
    """A module that remembers what it saw."""

    def __init__(self, remember: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.register_buffer("level", torch.zeros(8))
        self.seen: list[Tensor] = []
        self.last = {"frame": torch.zeros(8)}
        self._hidden = [[torch.zeros(8)]]
        self.remember = remember

    def forward(self, x: Tensor) -> Tensor:
        return x + self.remember(self, x.mean((0, 1)))


def _in_a_list(module: nn.Module, mean: Tensor) -> Tensor:
    module.seen.append(mean)
    return sum(module.seen)


def _in_a_dictionary(module: nn.Module, mean: Tensor) -> Tensor:
    module.last["frame"] = module.last["frame"] + mean
    return module.last["frame"]


def _in_a_buffer(module: nn.Module, mean: Tensor) -> Tensor:
    return module.level.mul_(0.5).add_(mean)


def _out_of_sight(module: nn.Module, mean: Tensor) -> Tensor:
    module._hidden[0][0] = module._hidden[0][0] + mean
    return module._hidden[0][0]


@pytest.mark.parametrize(
    ("remember", "message"),
    [
        (_in_a_list, "seen"),
        (_in_a_dictionary, "frame"),
        (_in_a_buffer, "level"),
        (_out_of_sight, "differently the second time"),
    ],
)
def test_state_kept_in_the_module_is_refused(remember: Callable, message: str) -> None:
    with pytest.raises(MutatedBuffer, match=message):
        streamify(_Keeps(remember).eval(), _FRAMES)


def test_noise_is_refused() -> None:
    module = Composed(lambda x: functional.dropout(x, 0.5, training=True)).eval()
    with pytest.raises(MutatedBuffer, match="random numbers"):
        streamify(module, _FRAMES)


def test_a_branch_on_values_is_refused_at_its_line() -> None:
    module = Composed(lambda x: x if x.sum() > 0 else -x).eval()
    with pytest.raises(TraceFailed, match=r"torch\.where") as caught:
        streamify(module, _FRAMES)
    assert _LINE.search(str(caught.value))


def test_a_module_that_does_not_take_the_frames_says_where() -> None:
    with pytest.raises(TraceFailed, match="time_axis"):
        streamify(nn.Conv1d(8, 3, 3).eval(), _FRAMES)
