"""A hybrid language model of transformers, its cache made explicit state, streamed token by token.

    pip install 'millstream[hf]'
    python examples/language_model.py language_model.mill

The same on the command line, for a folder that `save_pretrained` wrote or for the factory below:

    millstream export hf:path/to/folder --window 256
    millstream export hf:examples/language_model.py:tiny --window 16
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import nn


def tiny() -> nn.Module:
    """Qwen3-Next with random weights: one layer of linear attention, one of attention."""
    from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

    torch.manual_seed(0)
    config = Qwen3NextConfig(
        **{"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "mlp_only_layers": [0, 1]},
        **{"layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2},
        **{"linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
    )
    return Qwen3NextForCausalLM(config).eval()


def main(path: str, target: str = "onnxruntime") -> None:
    """Find the cache, prove the step, save it, and write on from three tokens."""
    import millstream
    import millstream_runtime as ms
    from millstream.huggingface import causal_step

    model = tiny()
    step = causal_step(model, window=16)
    millstream.export(step, torch.randint(1, 64, (2, 24)), target).save(path)

    prompt = [5, 17, 3]
    want = model.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False)[0].tolist()
    with ms.load(path).stream() as stream:
        tokens = list(prompt)
        for place in range(len(want) - 1):
            logits = stream.step(np.array(tokens[place], np.int64))
            if place + 1 == len(tokens):
                tokens.append(int(logits.argmax()))
    print("generated:", tokens)
    print("as the model generates:", tokens == want)


if __name__ == "__main__":
    main(*sys.argv[1:])
