"""The top around hls4ml's core: it keeps the states between frames, and talks AXI-Stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millstream_hw.hls.convert import CORE, FIRMWARE
from millstream_hw.hls.layers import Network

TOP = "millstream_top"


def files(network: Network, types: Mapping[str, str], initial: Sequence[Sequence[int]]) -> dict[str, bytes]:
    """The top as C++ by file name. `types` holds the C++ type of each input and result of the core by layer,
    `initial` the integers of each state after a reset."""
    texts = {f"{TOP}.h": _HEADER, f"{TOP}.cpp": _source(network, types, initial)}
    return {name: text.encode() for name, text in texts.items()}


_HEADER = """// One stream: a frame of words in, its results out, the last of them marked.

#ifndef MILLSTREAM_TOP_H_
#define MILLSTREAM_TOP_H_

#include "ap_int.h"
#include "hls_stream.h"

#if __has_include("ap_axi_sdata.h")
#include "ap_axi_sdata.h"
typedef ap_axis<16, 0, 0, 0> stream_word;
#else
// For a simulation without the vendor's headers.
struct stream_word {
    ap_int<16> data;
    ap_uint<2> keep;
    ap_uint<2> strb;
    ap_uint<1> last;
};
#endif

// `restart` is read before a frame: when it is set, the frame is the first of a new stream.
void millstream_top(hls::stream<stream_word> &in, hls::stream<stream_word> &out, bool restart);

#endif
"""


def _source(network: Network, types: Mapping[str, str], initial: Sequence[Sequence[int]]) -> str:
    sizes = {layer.name: layer.size for layer in network.layers}
    states = [
        (name, following, types[name], types[following], values)
        for name, following, values in zip(network.states, network.following, initial, strict=True)
    ]
    kept = "".join(
        f"    static const {kind} {name}_initial[{len(values)}] = {{{_joined(values)}}};\n"
        f"    static {kind} {name}[{len(values)}] = {{{_joined(values)}}};\n"
        f"    #pragma HLS ARRAY_PARTITION variable={name} complete\n"
        f"    #pragma HLS RESET variable={name}\n"
        for name, _, kind, _, values in states
    )
    restart = "".join(_loop(len(v), f"{name}[i] = {name}_initial[i];", 2) for name, *_, v in states)
    restarted = f"    if (restart) {{\n{restart}    }}\n" if states else ""
    declared = "".join(
        f"    {types[name]} {name}[{sizes[name]}];\n"
        f"    #pragma HLS ARRAY_PARTITION variable={name} complete\n"
        for name in (*network.inputs, *network.outputs, *network.following)
    )
    received = "".join(_loop(sizes[name], f"{name}[i] = in.read().data;", 1) for name in network.inputs)
    arguments = ", ".join((*network.inputs, *network.states, *network.outputs, *network.following))
    committed = "".join(
        _loop(sizes[name], f"{name}[i] = {following}[i];", 1) for name, following, *_ in states
    )
    sent = "".join(
        _loop(sizes[name], _send(name, name == network.outputs[-1], sizes[name]), 1)
        for name in network.outputs
    )
    return f"""#include "{TOP}.h"

#include "{FIRMWARE}/{CORE}.h"

static stream_word packed(ap_int<16> data, bool last) {{
    #pragma HLS INLINE
    stream_word word;
    word.data = data;
    word.keep = -1;
    word.strb = -1;
    word.last = last;
    return word;
}}

void {TOP}(hls::stream<stream_word> &in, hls::stream<stream_word> &out, bool restart) {{
    #pragma HLS INTERFACE axis port=in
    #pragma HLS INTERFACE axis port=out
    #pragma HLS INTERFACE ap_none port=restart

    // The states, from frame to frame.
{kept}{restarted}
{declared}
{received}
    {CORE}({arguments});

{committed}{sent}}}
"""


def _loop(count: int, body: str, depth: int) -> str:
    return f"{'    ' * depth}for (int i = 0; i < {count}; i++) {body}\n"


def _send(name: str, last: bool, size: int) -> str:
    return f"out.write(packed({name}[i].to_int(), {f'i == {size - 1}' if last else 'false'}));"


def _joined(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
