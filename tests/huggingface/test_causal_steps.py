"""Token by token, with the cache as explicit state, a causal language model gives its own logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_language_models import ATTENTION, HYBRID, RECURRENT, tiny, tokens
from torch import nn

import millstream
from millstream import prove
from millstream.errors import NotStreamable
from millstream.huggingface import causal_step
from millstream.protocol import streamable
from millstream.reference import interpreter
from millstream.sequences import sequences
from millstream.trace import trace

_WINDOW = 8
_ALL = {**RECURRENT, **HYBRID, **ATTENTION}
#: Sums of some hundred float32 products in another order; logits are of order 1.
_BOUND = 1e-5


@pytest.mark.parametrize("name", _ALL)
def test_steps_equal_the_models_own_forward_at_every_length(name: str) -> None:
    step = causal_step(tiny(_ALL[name]), window=None if name in RECURRENT else _WINDOW)
    source = streamable(step, tokens(1))
    rung = prove.sequence_equals_step(source, sequences(tokens(2, 19)), prove.SEQUENCE_TOLERANCE)
    assert rung.passed, rung


@pytest.mark.parametrize("name", _ALL)
def test_within_the_window_the_sequence_form_is_the_model_untouched(name: str) -> None:
    model = tiny(_ALL[name])
    length = min(_WINDOW, 5)
    x = tokens(2, length)
    with torch.no_grad():
        want = model(input_ids=x, use_cache=False).logits
        got = causal_step(model, window=_WINDOW)(x)
    np.testing.assert_allclose(got, want, atol=_BOUND)


@pytest.mark.parametrize("name", ["Mamba-2", "RecurrentGemma"])
def test_the_step_graph_gives_what_generation_gives(name: str) -> None:
    model = tiny(_ALL[name])
    step = causal_step(model, window=None if name in RECURRENT else _WINDOW)
    source = streamable(step, tokens(1))
    graph = trace(source, tokens(1)).graph
    run = interpreter.prepare(graph.specialize(1).model)
    prompt = tokens(1, 3)
    want = model.generate(prompt, max_new_tokens=4, do_sample=False, pad_token_id=0)[0].tolist()
    state = {name: value.numpy() for name, value in source.initial.items()}
    got = prompt[0].tolist()
    for place in range(len(want) - 1):
        feeds = {"input": np.array(got[place : place + 1], np.int64), **state}
        found = run(feeds)
        state = {pair.name: found[pair.next_name] for pair in graph.states}
        if place + 1 == len(got):
            got.append(int(found["output"][0].argmax()))
    assert got == want


def test_a_model_goes_through_the_same_ladder() -> None:
    step = causal_step(tiny(("Mamba", {"vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1})))
    exported = millstream.export(step, tokens(2, 17), target="onnxruntime")
    assert exported.ladder.passed
    assert exported.contents.model.batch is None


def test_attention_without_a_window_is_refused_with_its_layer() -> None:
    with pytest.raises(NotStreamable, match=r"layers\[1\]\.keys.*\n.*--window N"):
        causal_step(tiny(HYBRID["LFM2"]))


def test_a_window_of_the_models_own_needs_no_other() -> None:
    step = causal_step(tiny(ATTENTION["Mistral"]))
    assert {value.shape[2] for name, value in step.initial_state(1).items() if "keys" in name} == {5}


def test_a_table_of_positions_is_refused() -> None:
    options = {"vocab_size": 40, "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64}
    import transformers

    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**options)).eval()
    with pytest.raises(NotStreamable, match="looked up in a table"):
        causal_step(model, window=_WINDOW)


def test_a_module_without_a_cache_is_refused() -> None:
    with pytest.raises(NotStreamable, match="takes no cache"):
        causal_step(nn.Linear(3, 3))


class _CountsTokens(nn.Module):
    """A model whose cache counts in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 40)

    def forward(self, input_ids, cache_params=None, use_cache=True):
        from types import SimpleNamespace

        seen, total = cache_params or (0, torch.zeros(1, 40))
        total = total + self.embedding(input_ids)[:, -1]
        return SimpleNamespace(logits=total[:, None] / (seen + 1), cache_params=(seen + 1, total))


def test_a_cache_that_counts_in_python_is_refused_by_name() -> None:
    with pytest.raises(NotStreamable, match=r"counts in Python: \[0\]"):
        causal_step(_CountsTokens())
