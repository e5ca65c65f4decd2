"""State numbers per layer at published sizes, against the sizes that the papers and public code give."""

import pytest
import torch

from millstream_models.aaren import Aaren
from millstream_models.core.shell import Mixer
from millstream_models.deltanet import DeltaNet
from millstream_models.flowformer import FlowAttention
from millstream_models.gla import GatedLinearAttention
from millstream_models.hgrn2 import HGRN2
from millstream_models.liger import Liger
from millstream_models.linear_transformer import LinearAttention
from millstream_models.mamba import Mamba
from millstream_models.mamba2 import Mamba2
from millstream_models.matmul_free import MLGRU
from millstream_models.mlstm import MLSTM
from millstream_models.retnet import Retention
from millstream_models.s4 import S4
from millstream_models.s4d import S4D
from millstream_models.slstm import SLSTM
from millstream_models.titans import NeuralMemory


def numbers(mixer: Mixer, *names: str) -> int:
    """Numbers in the named states of one stream, or in all of them."""
    state = mixer.initial_state(1)
    return sum(state[name].numel() for name in names or state)


def test_matrix_states() -> None:
    d = 1024
    assert numbers(GatedLinearAttention(d, 4)) == d * d // 8 == 131_072
    assert numbers(HGRN2(d, 128, torch.zeros(d))) == d * 128
    assert numbers(Retention(d, 8), "memory") == 2 * d * d // 8
    assert numbers(DeltaNet(d, 4), "memory") == d * d // 4
    assert numbers(DeltaNet(d, 4), "q_ring", "k_ring", "v_ring") == 3 * 3 * d
    assert numbers(DeltaNet(d, 4, micro_steps=2), "memory") == d * d // 4
    assert numbers(LinearAttention(d, 16)) == 16 * (64 * 64 + 64)
    assert numbers(FlowAttention(d, 16)) == 16 * (64 * 64 + 4 * 64 + 1) + 1
    assert numbers(NeuralMemory(d, 4, chunk=16)) == 3 * d * d // 4 + 1


def test_state_spaces() -> None:
    d = 768
    assert numbers(Mamba(d), "memory") * 4 == 96 * 1024
    # The published ring holds four columns; the oldest is never read.
    assert numbers(Mamba(d), "ring") == 2 * d * 3
    assert numbers(Mamba2(d), "memory") == 2 * d * 128 == 196_608
    assert numbers(Mamba2(d), "ring") == 3 * (2 * d + 2 * 128)
    assert numbers(S4D(256, 64)) * 4 == numbers(S4(256, 64)) * 4 == 64 * 1024


def test_small_states() -> None:
    assert numbers(MLGRU(1024, torch.zeros(1024))) * 4 == 4 * 1024
    assert numbers(Aaren(256, 8)) == 8 * (32 + 2)
    assert numbers(SLSTM(512, 4)) == 4 * 512
    inner, heads = 2 * 512, 4
    head = inner // heads
    assert numbers(MLSTM(512, heads), "memory", "maximum") == heads * (head * head + head + 1)
    assert numbers(Liger(512, 8), "memory") == 8 * 64 * 64
    # A ring keeps one frame less than its window: the newest comes with the step.
    assert numbers(Liger(512, 8), "keys", "values") == 2 * 512 * 63


@pytest.mark.parametrize(("taps", "channels"), [(4, 2 * 768)])
def test_the_short_convolution_keeps_one_column_less_than_its_taps(taps: int, channels: int) -> None:
    assert Mamba(768).initial_state(2)["ring"].shape == (2, taps - 1, channels)
