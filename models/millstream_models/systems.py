"""The streaming systems of the literature, each in a small untrained configuration.

All take frames of 12 numbers and give 8; random weights, so they serve to prove, measure and read, not to
predict. The folder of a system has its `README.md`.
"""

from __future__ import annotations

from millstream_models.reference_model import ReferenceModel


def _system(name: str, folder: str, summary: str) -> ReferenceModel:
    return ReferenceModel(name, f"millstream_models.{folder}:{name}", f"{summary}; UNTRAINED", (12,))


SYSTEMS: tuple[ReferenceModel, ...] = (
    _system("linear_transformer", "linear_transformer", "linear attention, elu + 1, with its normaliser"),
    _system("hedgehog", "hedgehog", "linear attention with a learned exponential feature map"),
    _system("hedgehog_two_softmax", "hedgehog", "Hedgehog with the feature map of LoLCATs"),
    _system("hedgehog_joint_softmax", "hedgehog", "Hedgehog with the feature map of flash-linear-attention"),
    _system("transnormer", "lightning", "linear attention, normed instead of divided"),
    _system("lightning", "lightning", "the same with fixed decays per head and layer"),
    _system("retnet", "retnet", "retention: a fixed decay per head, rotary positions"),
    _system("gla", "gla", "gated linear attention: a decay per key channel and frame"),
    _system("hgrn2", "hgrn2", "HGRN2: the input gate is what the forget gate leaves"),
    _system("mamba", "mamba", "Mamba: selective state space, a decay per channel and order"),
    _system("mamba_signed", "mamba", "Mamba with decays between -1 and 1"),
    _system("mamba2", "mamba2", "Mamba-2: selective state space, a decay per head"),
    _system("s4d", "s4d", "S4D: time-invariant complex diagonal state space"),
    _system("s4d_bilinear", "s4d", "S4D discretised by the bilinear rule"),
    _system("s4", "s4", "S4: time-invariant state space, diagonal plus rank one"),
    _system("deltanet", "deltanet", "DeltaNet: the delta rule"),
    _system("deltanet_signed", "deltanet", "DeltaNet with eigenvalues between -1 and 1"),
    _system("gated_deltanet", "deltanet", "Gated DeltaNet: decay, then the delta rule"),
    _system("deltaproduct", "deltanet", "DeltaProduct: two delta steps a frame"),
    _system("gated_deltaproduct", "deltanet", "DeltaProduct with a decay and an output gate"),
    _system("rwkv7", "rwkv7", "RWKV-7: diagonal decay plus rank one"),
    _system("mlstm", "mlstm", "mLSTM of xLSTM: a matrix memory with exponential gates"),
    _system("slstm", "slstm", "sLSTM of xLSTM: exponential gates that read the output"),
    _system("matmul_free", "matmul_free", "MLGRU between ternary linear layers"),
    _system("aaren", "aaren", "Aaren: softmax attention with a constant query"),
    _system("qrnn", "qrnn", "QRNN: convolution and pooling"),
    _system("flowformer", "flowformer", "Flowformer, causal: competition and allocation of flows"),
    _system("mala", "mala", "MALA, causal: weights normalised by addition"),
    _system("slab", "slab", "SLAB's simplified linear attention, causal"),
    _system("ecoformer", "ecoformer", "EcoFormer: attention on binary codes, kernel width frozen"),
    _system("agent_attention", "agent_attention", "agent attention with fixed agents"),
    _system("liger", "liger", "Liger: gated linear attention beside a window"),
    _system("sinks", "sinks", "softmax attention over the first and the last frames"),
    _system("titans", "titans", "Titans: a linear memory trained at every frame"),
    _system("atlas", "atlas", "ATLAS: a memory trained on a window, steps orthogonalised"),
    _system("gtrxl", "gtrxl", "GTrXL: attention over a window, gates for residual sums"),
    _system("lrcn", "lrcn", "LRCN: a convolutional network per frame, then an LSTM"),
    _system("reactive", "reactive", "Reactive Transformer memory: slots rewritten every turn"),
    _system("cif", "cif", "continuous integrate-and-fire, the predictor of Paraformer"),
    _system("fastpitch", "fastpitch", "Incremental FastPitch: a block on chunks with a bounded past"),
    _system("jamba", "hybrid", "Mamba and windowed attention 3:1, with experts"),
    _system("delta_hybrid", "hybrid", "Gated DeltaNet, HGRN2 and windowed attention"),
    _system("early_exit", "adaptive_depth", "Mamba blocks that a frame may leave early"),
    _system("layer_skip", "adaptive_depth", "GLA blocks that a frame may skip"),
    _system("scout", "scout", "SCOUT: Mamba, and attention to bounded checkpoints"),
    _system("attamba", "attamba", "Attamba: attention to states of chunks, bounded"),
    _system("spiking_lmuformer", "spiking_lmuformer", "LMUFormer in spikes, causal"),
    _system("griffin", "griffin", "Griffin: real-gated linear recurrence, as in RecurrentGemma"),
)
