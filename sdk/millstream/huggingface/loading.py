"""Models of transformers, from a folder or as an object, made to step token by token."""

from __future__ import annotations

import copy
import os
from typing import Any

import torch
from torch import nn

from millstream.errors import ModelNotFound, NotStreamable, ToolMissing
from millstream.huggingface.calling import call, calling_of
from millstream.huggingface.starting import started
from millstream.huggingface.states import find
from millstream.huggingface.stepping import CausalStep, has_window
from millstream.huggingface.walking import module_tensors, set_module_tensors
from millstream.user_code import guarded, reason

#: A position that no table of positions reaches.
_FAR = 1 << 24


def causal_step(model: nn.Module, window: int | None = None) -> CausalStep:
    """A causal language model of transformers as a step with explicit state.

    Args:
        model: the model object; it is copied, in evaluation mode and float32 as it is.
        window: how many tokens attention sees, the newest among them; for models that have attention.

    Raises NotStreamable for a cache that is no tensor state, for attention without a window, and for
    positions that are looked up in a table.
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)
    _settle(model)

    def convert() -> CausalStep:
        with torch.no_grad():
            calling = calling_of(model)
            _forget(model)
            found = started(find(calling, model), calling, model)
            endless = [path for path in found.growing if not has_window(calling, path)]
            if endless and window is None:
                raise NotStreamable(
                    "its attention keeps all tokens",
                    where=", ".join(endless),
                    why="a stream has no end, and a device has no endless memory",
                    fix="say how many tokens it may see: window=N (--window N)",
                )
            _refuse_tables(calling, model)
            return CausalStep(model, calling, found, window if found.growing else None)

    return guarded(
        convert,
        lambda error: NotStreamable(
            f"{type(model).__name__} cannot be run token by token",
            why=reason(error),
            fix="it must take input_ids and a cache, and give logits; else write step(x, state)",
        ),
    )


def from_folder(path: str) -> nn.Module:
    """The causal language model in a folder of config.json and .safetensors. Nothing is downloaded.

    Raises ToolMissing without transformers, ModelNotFound.
    """
    try:
        from transformers import AutoModelForCausalLM  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ToolMissing("transformers is not installed", fix="pip install 'millstream[hf]'") from error
    if not os.path.isfile(os.path.join(path, "config.json")):
        raise ModelNotFound(
            "no model of transformers there",
            where=path,
            why="there is no config.json",
            fix="give the folder that save_pretrained wrote, or hf:file.py:factory",
        )
    return guarded(
        lambda: AutoModelForCausalLM.from_pretrained(
            path, local_files_only=True, use_safetensors=True, dtype=torch.float32
        ),
        lambda error: ModelNotFound("the model cannot be loaded", where=path, why=reason(error)),
    )


def _settle(model: nn.Module) -> None:
    """Choose implementations that trace: torch's attention, and experts as batched products."""
    for name, value in (("set_attn_implementation", "sdpa"), ("set_experts_implementation", "batched_mm")):
        choose: Any = getattr(model, name, None)
        if choose is not None:
            try:
                choose(value)
            except (ValueError, AttributeError, KeyError):
                continue  # the model has no such part, or only its own implementation


def _forget(model: nn.Module) -> None:
    """Drop what an earlier call left in the attributes of modules: the tensors that a call makes anew."""
    before = module_tensors(model)
    with torch.no_grad():
        model(input_ids=torch.ones(1, 1, dtype=torch.int64), use_cache=False)
    after = module_tensors(model)
    left = {path for path in {*before, *after} if before.get(path) is not after.get(path)}
    set_module_tensors(model, dict.fromkeys(left))


def _refuse_tables(calling: Any, model: nn.Module) -> None:
    """Raise NotStreamable when a position far on cannot be looked up."""
    if not calling.positions:
        return
    try:
        call(calling, model, torch.ones(1, 1, dtype=torch.int64), torch.full((1, 1), _FAR), None)
    except IndexError as error:
        raise NotStreamable(
            "positions are looked up in a table, which ends",
            why=str(error),
            fix="a stream has no end: use a model with rotary or relative positions, or none",
        ) from error
