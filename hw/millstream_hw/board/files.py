"""The files that put a circuit on a board: serial line, pins, clock, and what the tools are told."""

from __future__ import annotations

import binascii
from importlib import resources

from millstream_hw.board.board import Board
from millstream_hw.board.clock import clocks_per_bit, source
from millstream_hw.circuit import Circuit
from millstream_runtime.backends.serial import wire

TOP, SERIAL = "millstream_board", "millstream_serial"
CONSTRAINTS = "constraints.txt"


def serial_files(circuit: Circuit, identity: bytes, load: bytes, cycles: int) -> dict[str, bytes]:
    """The circuit behind a serial line, by file name: everything but the circuit itself, which is loaded with
    `load` where that is not empty. `cycles` of the clock are a bit."""
    rtl = resources.files("millstream_hw.board").joinpath("rtl")
    names = ("uart.v", "link.v", "loader.v") if load else ("uart.v", "link.v")
    texts = {
        **{name: rtl.joinpath(name).read_text() for name in names},
        "wire.vh": _header(),
        f"{SERIAL}.v": _serial(circuit, identity, load, cycles),
    }
    return {name: text.encode() for name, text in texts.items()}


def files(board: Board, circuit: Circuit, identity: bytes, load: bytes, clock_mhz: float) -> dict[str, bytes]:
    """`serial_files`, and what is this board's own. Raises ClockUnreachable."""
    texts = {f"{TOP}.v": _top(board, clock_mhz), CONSTRAINTS: board.constraints(board)}
    own = {name: text.encode() for name, text in texts.items()}
    return {**serial_files(circuit, identity, load, clocks_per_bit(clock_mhz, board.baud)), **own}


def _header() -> str:
    """The numbers of the protocol, for the Verilog."""
    numbers = {
        "FRAME": (8, wire.FRAME),
        "IDENTIFY": (8, wire.IDENTIFY),
        "LOAD": (8, wire.LOAD),
        "REFUSED": (8, wire.REFUSED),
        "CRC_START": (16, wire.CRC_START),
        "CRC_POLYNOMIAL": (16, wire.CRC_POLYNOMIAL),
        "ABOUT_BYTES": (16, wire.ABOUT_BYTES),
        "COUNT_BYTES": (16, wire.COUNT_BYTES),
        "BLOCK_WORDS": (16, wire.BLOCK_WORDS),
    }
    lines = (f"localparam [{bits - 1}:0] {name} = {bits}'d{n};" for name, (bits, n) in numbers.items())
    return "// Of millstream_runtime/backends/serial/wire.py.\n" + "\n".join(lines) + "\n"


def _serial(circuit: Circuit, identity: bytes, load: bytes, cycles: int) -> str:
    in_words, out_words = (sum(port.size for port in ports) for ports in (circuit.inputs, circuit.outputs))
    return f"""// A circuit behind a serial line.
module {SERIAL} #(
    parameter CLOCKS_PER_BIT = {cycles}
) (
    input wire clk,
    input wire rst,
    input wire receive,
    output wire send,
    output wire busy
);

wire came, valid, ready;
wire [7:0] byte_in, byte_out;
wire circuit_rst, in_valid, in_ready, out_valid, out_ready, out_last;
wire [15:0] in_data, out_data;

millstream_receiver #(.CLOCKS_PER_BIT(CLOCKS_PER_BIT)) receiver (
    .clk(clk), .rst(rst), .line(receive), .came(came), .data(byte_in)
);
millstream_transmitter #(.CLOCKS_PER_BIT(CLOCKS_PER_BIT)) transmitter (
    .clk(clk), .rst(rst), .valid(valid), .ready(ready), .data(byte_out), .line(send)
);
millstream_link #(
    .IN_WORDS({in_words}),
    .OUT_WORDS({out_words}),
    .LOAD_WORDS({len(load) // 2}),
    .LOAD_CRC(32'h{binascii.crc32(load):08x}),
    .IDENTITY(256'h{identity.hex()})
) link (
    .clk(clk), .rst(rst),
    .came(came), .byte_in(byte_in), .send(valid), .sendable(ready), .byte_out(byte_out),
    .circuit_rst(circuit_rst),
    .in_valid(in_valid), .in_ready(in_ready), .in_data(in_data),
    .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data), .busy(busy)
);
millstream_top circuit (
    .clk(clk), .rst(circuit_rst),
    .in_valid(in_valid), .in_ready(in_ready), .in_data(in_data),
    .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data), .out_last(out_last)
);

endmodule
"""


def _top(board: Board, clock_mhz: float) -> str:
    high = [name for name in board.pins if name.startswith("high_")]
    declared = "".join(f",\n    output wire {name}" for name in high)
    held = "".join(f"assign {name} = 1'b1;\n" for name in high)
    return f"""// {board.name}: {board.documentation}
module {TOP} (
    input wire clock,
    input wire receive,
    output wire send,
    input wire button,
    output wire led{declared}
);

// The clock: {clock_mhz:g} MHz of the board's {board.clock_mhz:g} MHz.
{source(board, clock_mhz)}

// The reset: the button, and some cycles from when the clock can be relied on.
reg [1:0] calm = 2'b00;
reg [3:0] age = 4'd0;
reg rst = 1'b1;
always @(posedge clk) begin
    calm <= {{calm[0], steady && button != 1'b{board.pressed}}};
    age <= !calm[1] ? 4'd0 : age == 4'd15 ? age : age + 4'd1;
    rst <= age != 4'd15;
end

wire busy;
{SERIAL} serial (.clk(clk), .rst(rst), .receive(receive), .send(send), .busy(busy));
assign led = busy == 1'b{board.lit};
{held}
endmodule
"""
