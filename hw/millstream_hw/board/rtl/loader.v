// The constants of a circuit whose memory wakes up empty: blocks of words from the host, which the circuit takes
// in order, each once.
//
// The words go to the circuit as they come, so that nothing is stored here; after a damaged block the circuit is
// reset, and the load begins again. All words run through a CRC-32, and the last one is held back until that is
// known to be the one of the load that this circuit was made for: a circuit that has its constants has the right
// ones.

`default_nettype none

module millstream_loader #(
    parameter LOAD_WORDS = 1,
    parameter [31:0] LOAD_CRC = 32'd0
) (
    input wire clk,
    input wire rst,                 // of the circuit, which begins an unfinished load again
    input wire begins,              // a message begins: the number of a block, then its words
    input wire word_came,
    input wire [15:0] word,
    input wire whole,               // the message was not damaged; lasts one cycle
    output reg failed,              // these were not the words of the load: the circuit is to be reset
    output reg [15:0] taken = 0,    // blocks that the circuit has
    output wire loaded,
    output reg in_valid,
    input wire in_ready,
    output reg [15:0] in_data
);

`include "wire.vh"

localparam BLOCKS = (LOAD_WORDS + BLOCK_WORDS - 1) / BLOCK_WORDS;

reg numbered;                       // the number of the block has come
reg wanted;                         // it is the next one
reg [16:0] given;                   // words that the circuit has, and the one that is held back
reg [31:0] check;

// One step of the CRC for each bit, the lowest first.
function [31:0] next_check(input [31:0] so_far, input [15:0] data);
    integer i;
    begin
        next_check = so_far ^ {16'd0, data};
        for (i = 0; i < 16; i = i + 1) next_check = (next_check >> 1) ^ (next_check[0] ? 32'hedb88320 : 32'd0);
    end
endfunction

wire complete = given == LOAD_WORDS;
wire right = !complete || ~check == LOAD_CRC;
assign loaded = taken == BLOCKS;

always @(posedge clk) begin
    failed <= 0;
    if (rst) begin
        in_valid <= 0;
        wanted <= 0;
        // A last word that the circuit has not taken yet it will not take.
        if (!loaded || in_valid) begin
            taken <= 0;
            given <= 0;
            check <= 32'hffffffff;
        end
    end else begin
        if (in_ready) in_valid <= 0;
        if (begins) numbered <= 0;
        if (word_came && !numbered) begin
            numbered <= 1;
            wanted <= word == taken && !loaded;
        end
        // What fills up the last block is no word of the load.
        if (word_came && numbered && wanted && !complete) begin
            given <= given + 17'd1;
            check <= next_check(check, word);
            in_data <= word;
            in_valid <= given != LOAD_WORDS - 1;
        end
        if (whole && wanted) begin
            wanted <= 0;
            failed <= !right;
            if (right) taken <= taken + 16'd1;
            if (right && complete) in_valid <= 1;
        end
    end
end

endmodule

`default_nettype wire
