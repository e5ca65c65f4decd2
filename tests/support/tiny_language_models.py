"""Causal language models of transformers, tiny and random: recurrent, hybrid, and attention alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
import transformers
from torch import nn

VOCABULARY = 40
_BASE = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2}
_ATTENTION = {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
}
_SSD = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 2,
    "mamba_d_state": 8,
    "mamba_chunk_size": 8,
}
_DELTA = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
_QWEN = {
    **{**_BASE, **_ATTENTION, **_DELTA, **_EXPERTS, "head_dim": 8},
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4},
    **{"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
}
_XLSTM = {
    **{"vocab_size": VOCABULARY, "hidden_size": 128, "num_heads": 2, "num_hidden_layers": 2},
    **{"autocast_kernel_dtype": "float32", "chunk_size": 16},
}

#: Name of the class without its ending, and the options of its configuration.
RECURRENT: dict[str, tuple[str, dict]] = {
    "Mamba": ("Mamba", {**_BASE, "state_size": 4}),
    "Mamba-2": (
        "Mamba2",
        {**_BASE, "state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 8},
    ),
    "FalconMamba": ("FalconMamba", {**_BASE, "state_size": 4}),
    "xLSTM": ("xLSTM", _XLSTM),
    "RWKV": ("Rwkv", {**_BASE, "attention_hidden_size": 32, "context_length": 64}),
}
HYBRID: dict[str, tuple[str, dict]] = {
    "LFM2": ("Lfm2", {**_BASE, **_ATTENTION, "layer_types": ["conv", "full_attention"]}),
    "Jamba": (
        "Jamba",
        {
            **{**_BASE, **_ATTENTION, **_EXPERTS, "mamba_d_state": 4, "use_mamba_kernels": False},
            **{"attn_layer_period": 2, "attn_layer_offset": 1},
            **{"expert_layer_period": 2, "expert_layer_offset": 1},
        },
    ),
    "Bamba": ("Bamba", {**_BASE, **_ATTENTION, **_SSD, "attn_layer_indices": [1]}),
    "Zamba2": (
        "Zamba2",
        {
            **{**_BASE, **_ATTENTION, "num_hidden_layers": 3, "num_key_value_heads": 4, "chunk_size": 8},
            **{"mamba_d_state": 8, "n_mamba_heads": 8, "mamba_ngroups": 2, "mamba_headdim": 8},
            **{"hybrid_layer_ids": [1], "layers_block_type": ["mamba", "hybrid", "mamba"]},
            **{"use_mem_rope": True, "adapter_rank": 4},
        },
    ),
    "Falcon-H1": ("FalconH1", {**_BASE, **_ATTENTION, **_SSD, "mamba_d_ssm": 64}),
    "Granite hybrid": (
        "GraniteMoeHybrid",
        {
            **{**_BASE, **_ATTENTION, **_SSD, "layer_types": ["mamba", "attention"]},
            **{"num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 16},
        },
    ),
    "OLMo hybrid": (
        "OlmoHybrid",
        {
            **{**_BASE, **_ATTENTION, **_DELTA, "pad_token_id": 0},
            **{"linear_num_key_heads": 4, "linear_num_value_heads": 4},
        },
    ),
    "Qwen3-Next, dense": ("Qwen3Next", {**_QWEN, "mlp_only_layers": [0, 1]}),
    "Qwen3-Next, experts": ("Qwen3Next", _QWEN),
    "RecurrentGemma": (
        "RecurrentGemma",
        {
            **{**_BASE, "num_attention_heads": 4, "intermediate_size": 48, "lru_width": 32},
            **{"attention_window_size": 8, "block_types": ["recurrent", "attention"]},
        },
    ),
}
#: Not of the fifteen: attention alone, all of it, in windows, or both by turns.
ATTENTION: dict[str, tuple[str, dict]] = {
    "Llama": ("Llama", {**_BASE, **_ATTENTION}),
    "Mistral": ("Mistral", {**_BASE, **_ATTENTION, "sliding_window": 6}),
    "Gemma 2": ("Gemma2", {**_BASE, **_ATTENTION, "head_dim": 8, "sliding_window": 5}),
}


def tiny(ending: tuple[str, dict]) -> nn.Module:
    """The model with the same random weights every time."""
    name, options = ending
    make: Callable = getattr(transformers, f"{name}ForCausalLM")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(getattr(transformers, f"{name}Config")(**options)).eval()


def tokens(*shape: int) -> torch.Tensor:
    """Seeded tokens; none is 0, which some models take for padding."""
    return torch.randint(1, VOCABULARY, shape, generator=torch.Generator().manual_seed(1))
