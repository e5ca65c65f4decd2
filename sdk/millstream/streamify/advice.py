"""What to tell the author of a model whose operator needs the whole sequence."""

from __future__ import annotations

_ADVICE = {
    "attention": (
        "attention written by hand mixes all frames",
        "call torch.nn.functional.scaled_dot_product_attention with is_causal=True or a windowed mask",
    ),
    "flip": ("it turns the sequence round", "a model that reads backwards cannot stream; drop that branch"),
    "roll": ("it moves frames from the end to the start", "pad on the left and cut on the right instead"),
    "softmax": ("it weighs all frames of the sequence", "use windowed attention, or a recurrence"),
    "group_norm": ("it takes the statistics of the whole sequence", "use LayerNorm, BatchNorm or RMSNorm"),
    "instance_norm": ("it takes the statistics of the whole sequence", "use LayerNorm or BatchNorm"),
    "layer_norm": ("it takes the statistics of the whole sequence", "normalise the features alone"),
    "var": ("it is taken over the whole sequence", "keep running sums with cumsum"),
    "std": ("it is taken over the whole sequence", "keep running sums with cumsum"),
    "sort": ("it orders the whole sequence", "cut the sequence into windows first (unfold)"),
    "topk": ("it chooses among all frames", "cut the sequence into windows first (unfold)"),
    "stft": (
        "the Fourier transform of a signal is not converted",
        "write it as Conv1d with the windowed cosine and sine as weights",
    ),
}


_WHOLE = "its result at a frame depends on other frames than a window of them"
_CAUSAL = (
    "make it causal: convolution, recurrence, cumulative sum, pooling over windows, or windowed attention"
)


def advice(name: str) -> tuple[str, str]:
    """Why an operator cannot stream, and what would make it causal."""
    plain = name.removeprefix("_").removeprefix("native_")
    whole = (_WHOLE, _CAUSAL)
    return _ADVICE.get(plain, _ADVICE.get(plain.removesuffix("_"), whole))
