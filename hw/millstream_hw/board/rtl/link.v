// The board's side of the protocol that millstream_runtime/backends/serial/wire.py defines: messages of bytes to
// the words of a circuit, and back.
//
// The words go to the circuit as they come, so that nothing is stored here; when the CRC behind them is wrong,
// the circuit is reset, which costs nothing because it keeps no state of its own.

`default_nettype none

module millstream_link #(
    parameter IN_WORDS = 1,
    parameter OUT_WORDS = 1,
    parameter [255:0] IDENTITY = 256'd0
) (
    input wire clk,
    input wire rst,
    input wire came,                // a byte from the host; lasts one cycle
    input wire [7:0] byte_in,
    output reg send,                // a byte to the host, taken when `sendable`
    input wire sendable,
    output reg [7:0] byte_out,
    output reg circuit_rst,
    output reg in_valid,
    input wire in_ready,
    output reg [15:0] in_data,
    input wire out_valid,
    output wire out_ready,
    input wire [15:0] out_data,
    output wire busy                // in the middle of a message, or of its answer
);

`include "wire.vh"

localparam IDLE = 4'd0, NUMBER = 4'd1, TAKE = 4'd2, CHECK = 4'd3, REFUSE = 4'd4, COMMAND = 4'd5, ECHO = 4'd6,
    GIVE = 4'd7, SIGN = 4'd8;

reg [3:0] state;
reg is_frame;                       // else the host asks for the identity
reg high;                           // the second byte of a word is next
reg [16:0] left;                    // bytes of this part of a message still to come or to go, less one
reg [7:0] low;                      // the first byte of a word
reg [7:0] number;                   // of the message, which its answer has too
reg [15:0] crc;
assign busy = state != IDLE;

// One step of the CRC for each byte, as it comes or goes.
function [15:0] next_crc(input [15:0] so_far, input [7:0] data);
    integer i;
    begin
        next_crc = so_far ^ {data, 8'd0};
        for (i = 0; i < 8; i = i + 1)
            next_crc = {next_crc[14:0], 1'b0} ^ (next_crc[15] ? CRC_POLYNOMIAL : 16'd0);
    end
endfunction
wire [15:0] crc_in = next_crc(state == IDLE ? CRC_START : crc, byte_in);
wire [15:0] crc_out = next_crc(state == COMMAND ? CRC_START : crc, byte_out);

wire [7:0] identity_byte = IDENTITY[{left[4:0], 3'd0} +: 8];
wire last = left == 0;
wire given = send && sendable;
assign out_ready = state == GIVE && is_frame && high && sendable;

always @(*) begin
    send = state == REFUSE || state == COMMAND || state == ECHO || state == SIGN
        || (state == GIVE && (!is_frame || out_valid));
    case (state)
        REFUSE: byte_out = REFUSED;
        COMMAND: byte_out = is_frame ? FRAME : IDENTIFY;
        ECHO: byte_out = number;
        GIVE: byte_out = !is_frame ? identity_byte : high ? out_data[15:8] : out_data[7:0];
        default: byte_out = last ? crc[7:0] : crc[15:8];
    endcase
end

always @(posedge clk) begin
    circuit_rst <= rst || state == REFUSE;
    if (rst) begin
        state <= IDLE;
        in_valid <= 0;
    end else begin
        if (in_ready) in_valid <= 0;
        case (state)
            IDLE: if (came && (byte_in == FRAME || byte_in == IDENTIFY)) begin
                is_frame <= byte_in == FRAME;
                crc <= crc_in;
                state <= NUMBER;
            end
            NUMBER: if (came) begin
                number <= byte_in;
                crc <= crc_in;
                high <= 0;
                left <= is_frame ? 2 * IN_WORDS - 1 : 1;
                state <= is_frame ? TAKE : CHECK;
            end
            TAKE: if (came) begin
                crc <= crc_in;
                high <= !high;
                left <= last ? 17'd1 : left - 17'd1;
                if (!high) low <= byte_in;
                if (high) begin
                    in_valid <= 1;
                    in_data <= {byte_in, low};
                end
                if (last) state <= CHECK;
            end
            CHECK: if (came) begin
                crc <= crc_in;
                left <= left - 17'd1;
                if (last) state <= crc_in == 0 ? COMMAND : REFUSE;
            end
            REFUSE: if (given) begin
                in_valid <= 0;
                state <= IDLE;
            end
            COMMAND: if (given) begin
                crc <= crc_out;
                state <= ECHO;
            end
            ECHO: if (given) begin
                crc <= crc_out;
                high <= 0;
                left <= is_frame ? 2 * OUT_WORDS - 1 : 31;
                state <= GIVE;
            end
            GIVE: if (given) begin
                crc <= crc_out;
                high <= !high;
                left <= last ? 17'd1 : left - 17'd1;
                if (last) state <= SIGN;
            end
            SIGN: if (given) begin
                left <= left - 17'd1;
                if (last) state <= IDLE;
            end
            default: state <= IDLE;
        endcase
    end
end

endmodule

`default_nettype wire
