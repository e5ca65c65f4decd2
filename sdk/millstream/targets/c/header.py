"""`step.h`: what a program on the device sees of the step."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from millstream.targets.c.layout import Layout, Member, record
from millstream.targets.c.literal import TYPES
from millstream.targets.c.names import comment
from millstream.targets.c.storage import scratch_bytes
from millstream_runtime.program import Buffer, Program
from millstream_runtime.spec import ModelSpec, TensorSpec

_WIDTH = 100
_OPENING = """\
/* One step of {model}: (inputs, state) -> (outputs, next state).{timing}
 *
 * The caller owns all memory. The step allocates nothing and keeps nothing: streams, each with its own two
 * states, may take turns on one scratch, or run in parallel with a scratch for each.
 *
 *     static {prefix}_state state[2];
 *     {prefix}_initial_state(&state[0]);
 *     for (int now = 0;; now = !now) {{
 *         ... fill `in` ...
 *         {prefix}_step(&in, &state[now], &out, &state[!now], &scratch);
 *     }}
 *
 * Made by Millstream: export again rather than edit.
 */
#ifndef {guard}
#define {guard}

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

/* Bytes of constants (flash), of the state of one stream, and of scratch. A stream holds two states. */
#define {upper}_WEIGHT_BYTES {weights}
#define {upper}_STATE_BYTES {state}
#define {upper}_SCRATCH_BYTES {scratch}

/* The outputs of a step belong to the frame given this many steps before; the first ones to no frame. */
#define {upper}_LOOK_AHEAD {look_ahead}

{needs}"""
_CLOSING = """\
/* Give a stream the state that it starts from. */
void {prefix}_initial_state({prefix}_state *state);

/* Take one frame. The five structs must not overlap; scratch need not be initialised. */
{signature};

#ifdef __cplusplus
}}
#endif

#endif
"""


def print_header(
    program: Program,
    layout: Layout,
    spec: ModelSpec,
    names: Mapping[str, str],
    weight_bytes: int,
    needs: str = "",
) -> str:
    """The text of `step.h`; `needs` tells what the step asks of the program that it is linked into."""
    prefix = layout.prefix
    opening = _OPENING.format(
        model=comment(spec.name)[3:-3],
        prefix=prefix,
        timing=_timing(spec),
        guard=f"{prefix.upper()}_STEP_H",
        upper=prefix.upper(),
        weights=weight_bytes,
        state=record(layout.state).itemsize,
        scratch=scratch_bytes(program),
        look_ahead=spec.look_ahead,
        needs="\n   ".join(textwrap.wrap(f"/* {needs} */", _WIDTH)) + "\n\n" if needs else "",
    )
    lines = [
        *_struct(f"{prefix}_input", layout.input),
        *_struct(f"{prefix}_state", layout.state),
        *_struct(f"{prefix}_output", layout.output),
        *_union(f"{prefix}_scratch", program.role("scratch"), names),
    ]
    return (
        opening + "\n".join(lines) + "\n" + _CLOSING.format(prefix=prefix, signature=step_signature(prefix))
    )


def step_signature(prefix: str, pointer: str = "*") -> str:
    """The step's result, name and parameters, each of which is a `pointer`."""
    name = f"void {prefix}_step("
    parameters = (
        f"const {prefix}_input {pointer}in, const {prefix}_state {pointer}state,",
        f"{prefix}_output {pointer}out, {prefix}_state {pointer}next,",
        f"{prefix}_scratch {pointer}scratch)",
    )
    return name + f"\n{' ' * len(name)}".join(parameters)


def _timing(spec: ModelSpec) -> str:
    """When a frame comes, where the model says it."""
    texts = []
    if spec.sample_rate is not None:
        texts.append(f" {spec.sample_rate:g} {'samples' if spec.framing else 'frames'} per second.")
    if spec.framing is not None:
        texts.append(f" A frame is {spec.framing.length} samples, {spec.framing.hop} after the one before.")
    return "".join(texts)


def _struct(name: str, members: Sequence[Member]) -> Iterator[str]:
    yield "typedef struct {"
    for member in members:
        if member.size:
            declared = f"{TYPES[member.tensor.dtype]} {member.name}[{member.size}];"
            yield f"    {declared} {comment(_described(member))}"
    if not any(member.size for member in members):
        yield "    char none; /* the model has none, and C knows no empty struct */"
    yield f"}} {name};"
    yield ""


def _described(member: Member) -> str:
    """Name, shape, dtype and unit of the tensor, for a comment."""
    tensor = member.tensor
    unit = f", in {tensor.unit}" if isinstance(tensor, TensorSpec) and tensor.unit else ""
    return f"{tensor.name}: {tensor.dtype} of shape {tensor.shape}{unit}"


def _union(name: str, buffers: Sequence[Buffer], names: Mapping[str, str]) -> Iterator[str]:
    yield "/* Intermediate results. Those that are never needed at the same time share their place. */"
    yield "typedef union {"
    for buffer in buffers:
        before = f"char before[{buffer.offset}]; " if buffer.offset else ""
        array = f"{TYPES[buffer.dtype]} at[{buffer.size}];"
        yield f"    struct {{ {before}{array} }} {names[buffer.name]};"
    if not buffers:
        yield "    char none;"
    yield f"}} {name};"
    yield ""
