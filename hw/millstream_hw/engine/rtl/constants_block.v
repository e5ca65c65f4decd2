// Weights and tables in block RAM, which holds its contents when the part wakes up: nothing is loaded.

`default_nettype none

module millstream_constants #(
    parameter BITS = 128,           // bits of a word of weights
    parameter WEIGHTS = 1024,
    parameter TABLES = 2048
) (
    input wire clk,
    input wire load,
    input wire [15:0] load_place,
    input wire [7:0] load_part,
    input wire [15:0] load_word,
    input wire looks_up,
    input wire [15:0] weight_place,
    input wire [15:0] table_place,
    output reg [BITS-1:0] weight,
    output reg [15:0] entry
);

reg [BITS-1:0] weights [0:WEIGHTS-1];
reg [15:0] tables [0:TABLES-1];

initial begin
    $readmemh("weights.hex", weights);
    $readmemh("tables.hex", tables);
end

always @(posedge clk) begin
    weight <= weights[weight_place[$clog2(WEIGHTS)-1:0]];
    entry <= tables[table_place[$clog2(TABLES)-1:0]];
end

endmodule

`default_nettype wire
