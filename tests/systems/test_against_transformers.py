"""Mixers against the pure torch paths of Hugging Face `transformers`, with the same random weights.

Nothing is downloaded: only the library's code is used. It is code of other people for the same papers,
which the naive definitions of this repository are not.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import Mamba2Config, MambaConfig, Qwen3NextConfig, RecurrentGemmaConfig
from transformers.integrations.bitnet import WeightQuant
from transformers.models.mamba.modeling_mamba import MambaMixer
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet
from transformers.models.recurrent_gemma.modeling_recurrent_gemma import RecurrentGemmaRecurrentBlock
from transformers.models.xlstm import modeling_xlstm

from millstream_models.core.forms import SEQUENCE
from millstream_models.core.parts.normalizer import with_ones
from millstream_models.core.shell import Mixer
from millstream_models.deltanet import DeltaNet
from millstream_models.griffin import RealGatedRecurrence
from millstream_models.mamba import Mamba
from millstream_models.mamba2 import Mamba2
from millstream_models.matmul_free.ternary import ternary

#: Float32 against float32, sums in another order over a few layers of arithmetic.
SINGLE = 1e-5
LENGTHS = (1, 7, 65)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def frames(length: int, width: int = 32) -> Tensor:
    return torch.randn(2, length, width)


def copy(target: Tensor, source: Tensor) -> None:
    with torch.no_grad():
        assert target.shape == source.shape
        target.copy_(source)


def randomize(module: nn.Module) -> None:
    for parameter in module.parameters():
        with torch.no_grad():
            parameter.normal_(std=0.3)


def both_forms_agree(mixer: Mixer, x: Tensor, expected: Tensor, allowed: float = SINGLE) -> None:
    bound = allowed * (1 + float(expected.abs().max()))
    with torch.no_grad():
        torch.testing.assert_close(mixer(x), expected, rtol=0, atol=bound)
        state = mixer.initial_state(len(x))
        for t in range(x.shape[1]):
            y, state = mixer.step(x[:, t], state)
            torch.testing.assert_close(y, expected[:, t], rtol=0, atol=bound)


@pytest.mark.parametrize("length", LENGTHS)
def test_mamba(length: int) -> None:
    config = MambaConfig(hidden_size=32, state_size=16, use_mambapy=False, num_hidden_layers=1)
    theirs, ours = MambaMixer(config, 0).eval(), Mamba(32)
    randomize(theirs)
    copy(ours.inlet.weight, theirs.in_proj.weight)
    copy(ours.convolution.weight, theirs.conv1d.weight.squeeze(1).T)
    copy(ours.convolution.bias, theirs.conv1d.bias)
    copy(ours.select.weight, theirs.x_proj.weight)
    copy(ours.step_size.weight, theirs.dt_proj.weight)
    copy(ours.step_size.bias, theirs.dt_proj.bias)
    copy(ours.a_log, theirs.A_log)
    copy(ours.skip, theirs.D)
    copy(ours.out.weight, theirs.out_proj.weight)
    x = frames(length)
    both_forms_agree(ours, x, theirs(x).detach())


@pytest.mark.parametrize("length", LENGTHS)
def test_mamba2(length: int) -> None:
    config = Mamba2Config(
        hidden_size=32,
        state_size=16,
        head_dim=16,
        num_heads=4,
        n_groups=1,
        expand=2,
        chunk_size=8,
        num_hidden_layers=1,
    )
    theirs, ours = Mamba2Mixer(config, 0).eval(), Mamba2(32, head_width=16, order=16)
    randomize(theirs)
    copy(ours.inlet.weight, theirs.in_proj.weight)
    copy(ours.convolution.weight, theirs.conv1d.weight.squeeze(1).T)
    copy(ours.convolution.bias, theirs.conv1d.bias)
    copy(ours.a_log, theirs.A_log)
    copy(ours.step_bias, theirs.dt_bias)
    copy(ours.skip, theirs.D)
    copy(ours.norm.gain, theirs.norm.weight)
    copy(ours.out.weight, theirs.out_proj.weight)
    x = frames(length)
    both_forms_agree(ours, x, theirs(x).detach())


@pytest.mark.parametrize("length", LENGTHS)
def test_gated_deltanet_of_qwen3_next(length: int) -> None:
    config = Qwen3NextConfig(
        hidden_size=32,
        linear_num_value_heads=2,
        linear_num_key_heads=2,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        linear_conv_kernel_dim=4,
        num_hidden_layers=1,
        rms_norm_eps=1e-5,
        layer_types=["linear_attention"],
    )
    theirs, ours = Qwen3NextGatedDeltaNet(config, 0).eval(), DeltaNet(32, 2, gated=True)
    randomize(theirs)
    assert ours.gates is not None
    # Their projections are grouped by head: q, k, v and gate of one, then of the next.
    grouped = theirs.in_proj_qkvz.weight.view(2, 4, 16, 32)
    for layer, part in zip((ours.q, ours.k, ours.v, ours.gates.gate), grouped.unbind(1), strict=True):
        copy(layer.weight, part.reshape(32, 32))
    taps = theirs.conv1d.weight.squeeze(1).T.chunk(3, 1)
    for layer, part in zip((ours.q_convolution, ours.k_convolution, ours.v_convolution), taps, strict=True):
        copy(layer.weight, part)
    strength, amount = theirs.in_proj_ba.weight.view(2, 2, 32).unbind(1)
    copy(ours.strength.weight, strength)
    copy(ours.gates.amount.weight, amount)
    copy(ours.gates.a_log, theirs.A_log)
    copy(ours.gates.bias, theirs.dt_bias)
    copy(ours.norm.gain, theirs.norm.weight)
    copy(ours.out.weight, theirs.out_proj.weight)
    x = frames(length)
    both_forms_agree(ours, x, theirs(x).detach())


@pytest.mark.parametrize("length", LENGTHS)
def test_griffin_of_recurrent_gemma(length: int) -> None:
    config = RecurrentGemmaConfig(hidden_size=32, lru_width=32, num_attention_heads=2, conv1d_width=4)
    theirs, ours = RecurrentGemmaRecurrentBlock(config, 0).eval(), RealGatedRecurrence(32, 2)
    randomize(theirs)
    for mine, yours in ((ours.x, theirs.linear_x), (ours.y, theirs.linear_y), (ours.out, theirs.linear_out)):
        copy(mine.weight, yours.weight)
        copy(mine.bias, yours.bias)
    copy(ours.taps, theirs.conv_1d.weight.squeeze(1).T)
    copy(ours.taps_bias, theirs.conv_1d.bias)
    copy(ours.gates, torch.stack((theirs.rg_lru.input_gate_weight, theirs.rg_lru.recurrent_gate_weight)).mT)
    copy(ours.gates_bias, torch.stack((theirs.rg_lru.input_gate_bias, theirs.rg_lru.recurrent_gate_bias)))
    copy(ours.decay, theirs.rg_lru.recurrent_param)
    x = frames(length)
    places = torch.arange(length).expand(2, length)
    expected = theirs(x, places, None, use_cache=False)[0].detach()
    both_forms_agree(ours, x, expected)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_cell_of_mlstm(length: int) -> None:
    """The stabilised matrix memory alone, as their block differs (xLSTM-7B has no convolution)."""
    q, k, v = (torch.randn(2, 3, length, 8) for _ in range(3))
    write, forget = torch.randn(2, 3, length) * 3, torch.randn(2, 3, length) * 3
    expected = modeling_xlstm.mlstm_recurrent_sequence_native(
        query=q, key=k, value=v, igate=write, fgate=forget, eps=1e-6
    )
    expected = expected[0] if isinstance(expected, tuple) else expected
    q, k, v, write, forget = (x.transpose(1, 2) for x in (q, k, v, write, forget))
    log_forget = nn.functional.logsigmoid(forget)
    decay, scale, maximum, _ = SEQUENCE.stabilize(log_forget, write, torch.zeros(2, 3))
    k = k * (8**-0.5 * scale.unsqueeze(-1))
    o, _ = SEQUENCE.recur(q, k, with_ones(v), decay.unsqueeze(-1), torch.zeros(2, 3, 9, 8))
    found = o[..., :-1] / (torch.maximum(o[..., -1:].abs(), torch.exp(-maximum).unsqueeze(-1)) + 1e-6)
    torch.testing.assert_close(found.transpose(1, 2), expected, rtol=SINGLE, atol=SINGLE * 10)


def test_ternary_weights_of_bitnet() -> None:
    weight = torch.randn(24, 40)
    rounded, size = ternary(weight)
    torch.testing.assert_close(rounded * size, WeightQuant.apply(weight), rtol=1e-6, atol=0)
