// The board's side of the protocol that millstream_runtime/backends/serial/wire.py defines: messages of bytes to
// the words of a circuit, and back.
//
// The words go to the circuit as they come, so that nothing is stored here; when the CRC behind them is wrong,
// the circuit is reset, which costs nothing because it keeps no state of its own. A circuit whose constants are
// loaded has them through loader.v, and is given no frame before.

`default_nettype none

module millstream_link #(
    parameter IN_WORDS = 1,
    parameter OUT_WORDS = 1,
    parameter LOAD_WORDS = 0,       // 0 where the circuit has its constants from the start
    parameter [31:0] LOAD_CRC = 32'd0,
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
    output wire in_valid,
    input wire in_ready,
    output wire [15:0] in_data,
    input wire out_valid,
    output wire out_ready,
    input wire [15:0] out_data,
    output wire busy                // in the middle of a message, or of its answer
);

`include "wire.vh"

localparam IDLE = 4'd0, NUMBER = 4'd1, TAKE = 4'd2, CHECK = 4'd3, REFUSE = 4'd4, COMMAND = 4'd5, ECHO = 4'd6,
    GIVE = 4'd7, SIGN = 4'd8;

reg [3:0] state;
reg is_frame, is_load;              // else the host asks for the identity
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

wire last = left == 0;
wire given = send && sendable;
assign out_ready = state == GIVE && is_frame && high && sendable;

// A word of a message is there with its second byte.
wire word_came = state == TAKE && came && high;
wire [15:0] word = {byte_in, low};
reg frame_valid;
reg [15:0] frame_word;

wire loaded, failed, load_valid;
wire [15:0] taken, load_word;
generate if (LOAD_WORDS != 0) begin : loading
    millstream_loader #(.LOAD_WORDS(LOAD_WORDS), .LOAD_CRC(LOAD_CRC)) loader (
        .clk(clk), .rst(circuit_rst),
        .begins(state == NUMBER), .word_came(word_came && is_load), .word(word),
        .whole(state == CHECK && is_load && came && last && crc_in == 0),
        .failed(failed), .taken(taken), .loaded(loaded),
        .in_valid(load_valid), .in_ready(in_ready), .in_data(load_word)
    );
end else begin : complete
    assign {loaded, failed, load_valid} = 3'b100;
    assign {taken, load_word} = 32'd0;
end endgenerate
assign in_valid = frame_valid || load_valid;
assign in_data = load_valid ? load_word : frame_word;

// What a board says of itself: who it is, and how many blocks it has. The answer to a block is the end of that.
wire [8*ABOUT_BYTES-1:0] about = {IDENTITY, taken[7:0], taken[15:8]};
wire [7:0] about_byte = about[{left[5:0], 3'd0} +: 8];
wire [7:0] command = is_frame ? FRAME : is_load ? LOAD : IDENTIFY;

always @(*) begin
    send = state == REFUSE || state == COMMAND || state == ECHO || state == SIGN
        || (state == GIVE && (!is_frame || out_valid));
    case (state)
        REFUSE: byte_out = REFUSED;
        COMMAND: byte_out = command;
        ECHO: byte_out = number;
        GIVE: byte_out = !is_frame ? about_byte : high ? out_data[15:8] : out_data[7:0];
        default: byte_out = last ? crc[7:0] : crc[15:8];
    endcase
end

always @(posedge clk) begin
    circuit_rst <= rst || state == REFUSE || failed;
    if (rst) begin
        state <= IDLE;
        frame_valid <= 0;
    end else begin
        if (in_ready) frame_valid <= 0;
        case (state)
            IDLE: if (came && (byte_in == FRAME || byte_in == IDENTIFY || (byte_in == LOAD && LOAD_WORDS != 0))) begin
                is_frame <= byte_in == FRAME;
                is_load <= byte_in == LOAD && LOAD_WORDS != 0;
                crc <= crc_in;
                state <= NUMBER;
            end
            NUMBER: if (came) begin
                number <= byte_in;
                crc <= crc_in;
                high <= 0;
                left <= is_frame ? 2 * IN_WORDS - 1 : is_load ? 2 * BLOCK_WORDS + 1 : 1;
                state <= is_frame || is_load ? TAKE : CHECK;
            end
            TAKE: if (came) begin
                crc <= crc_in;
                high <= !high;
                left <= last ? 17'd1 : left - 17'd1;
                if (!high) low <= byte_in;
                if (word_came && is_frame) begin
                    frame_valid <= loaded;
                    frame_word <= word;
                end
                if (last) state <= CHECK;
            end
            CHECK: if (came) begin
                crc <= crc_in;
                left <= left - 17'd1;
                if (last) state <= crc_in == 0 && (loaded || !is_frame) ? COMMAND : REFUSE;
            end
            REFUSE: if (given) begin
                frame_valid <= 0;
                state <= IDLE;
            end
            COMMAND: if (given) begin
                crc <= crc_out;
                state <= ECHO;
            end
            ECHO: if (given) begin
                crc <= crc_out;
                high <= 0;
                left <= is_frame ? 2 * OUT_WORDS - 1 : is_load ? COUNT_BYTES - 1 : ABOUT_BYTES - 1;
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
