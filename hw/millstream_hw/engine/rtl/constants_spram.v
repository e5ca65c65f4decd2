// Weights and tables in the SPRAM of an iCE40 UltraPlus, which is empty when the part wakes up: the engine loads
// it, 16 bits at a time. A word lies side by side in as many SPRAMs as it has parts of 16 bits; more than 16,384
// words lie in several rows of them. The tables follow the weights, a power of two of entries in each word: an
// instruction that looks up reads no weights.

`default_nettype none

module millstream_constants #(
    parameter BITS = 64,            // bits of a word of weights
    parameter WEIGHTS = 16384,
    parameter TABLES = 2048
) (
    input wire clk,
    input wire load,
    input wire [15:0] load_place,
    input wire [7:0] load_part,     // which 16 bits of the word, the lowest first
    input wire [15:0] load_word,
    input wire looks_up,
    input wire [15:0] weight_place,
    input wire [15:0] table_place,
    output wire [BITS-1:0] weight,
    output wire [15:0] entry
);

localparam PARTS = (BITS + 15) / 16;
localparam FOLD = $clog2(PARTS + 1) - 1;        // a word holds 2 ** FOLD entries
localparam WORDS = WEIGHTS + (TABLES + (1 << FOLD) - 1) / (1 << FOLD);
localparam ROWS = (WORDS + 16383) / 16384;

wire [15:0] table_word = WEIGHTS + (table_place >> FOLD);
wire [15:0] place = load ? load_place : looks_up ? table_word : weight_place;
wire [PARTS*16-1:0] rows [0:ROWS-1];
reg [1:0] row;
reg [7:0] part;
always @(posedge clk) begin
    row <= place[15:14];
    part <= table_place & ((1 << FOLD) - 1);
end

generate
    genvar r, p;
    for (r = 0; r < ROWS; r = r + 1) begin : each_row
        for (p = 0; p < PARTS; p = p + 1) begin : each_part
            SB_SPRAM256KA memory (
                .ADDRESS(place[13:0]), .DATAIN(load_word), .MASKWREN(4'b1111),
                .WREN(load && load_part == p && place[15:14] == r),
                .CHIPSELECT(1'b1), .CLOCK(clk), .STANDBY(1'b0), .SLEEP(1'b0), .POWEROFF(1'b1),
                .DATAOUT(rows[r][p*16 +: 16])
            );
        end
    end
endgenerate

wire [PARTS*16-1:0] word = rows[ROWS == 1 ? 0 : row];
assign weight = word[BITS-1:0];
assign entry = word[part*16 +: 16];

endmodule

`ifdef VERILATOR
// What simulation needs of the primitive. It wakes up with words that no model means.
module SB_SPRAM256KA (
    input wire [13:0] ADDRESS,
    input wire [15:0] DATAIN,
    input wire [3:0] MASKWREN,
    input wire WREN,
    input wire CHIPSELECT,
    input wire CLOCK,
    input wire STANDBY,
    input wire SLEEP,
    input wire POWEROFF,
    output reg [15:0] DATAOUT
);

reg [15:0] memory [0:16383];
integer at;
initial for (at = 0; at < 16384; at = at + 1) memory[at] = 16'h5aa5 ^ at[15:0];

wire [15:0] mask = {{4{MASKWREN[3]}}, {4{MASKWREN[2]}}, {4{MASKWREN[1]}}, {4{MASKWREN[0]}}};
wire works = CHIPSELECT && POWEROFF && !STANDBY && !SLEEP;
always @(posedge CLOCK) if (works) begin
    if (WREN) memory[ADDRESS] <= (memory[ADDRESS] & ~mask) | (DATAIN & mask);
    else DATAOUT <= memory[ADDRESS];
end

endmodule
`endif

`default_nettype wire
