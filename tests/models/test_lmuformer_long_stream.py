"""A long stream keeps its precision: the state neither grows out of its digits nor drifts."""

import copy

import torch

FRAMES = 20_000


@torch.inference_mode()
def test_a_float32_stream_stays_at_the_float64_sequence_form(causal_model):
    frames = torch.randn(1, FRAMES, 6, generator=torch.Generator().manual_seed(0)) + 0.5
    expected = causal_model(frames.double())[0]
    model = copy.deepcopy(causal_model).float()
    state, streamed = model.initial_state(1), []
    for frame in frames.unbind(1):
        y, state = model.step(frame, state)
        streamed.append(y)
    assert all(t.isfinite().all() for t in state.values())
    difference, size = (torch.cat(streamed) - expected).abs(), expected.abs().max()
    # Single frames are off by some ulps through the layers; a mean of 20,000 must be good to one, 2^-23.
    assert difference.max() < 2e-6 * size
    assert difference[-1000:].max() < 2**-23 * size


def test_the_mean_still_moves_after_a_hundred_million_frames(causal_model):
    """A float32 sum would stand still: at 1e8 frames its last bit is worth 8 frames."""
    trunk = causal_model.trunk.float()
    frames = 10**8
    features = torch.randn(1, 10, generator=torch.Generator().manual_seed(3))
    start = {**trunk.initial_state(1), "frame_count": torch.full((1, 1), frames)}
    logits, _ = trunk.step(features, trunk.initial_state(1))
    held = (0.7 * frames * torch.ones_like(logits)).double()
    _, after = trunk.step(features, {**start, "logit_sum": held})
    torch.testing.assert_close((after["logit_sum"] - held).float(), logits, rtol=0, atol=1e-7)
    assert after["frame_count"].item() == frames + 1
