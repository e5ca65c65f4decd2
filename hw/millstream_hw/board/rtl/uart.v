// A serial line of bytes, 8N1: one start bit, eight data bits, the lowest first, one stop bit.

`default_nettype none

// `came` lasts one cycle. A byte without its stop bit is dropped.
module millstream_receiver #(
    parameter CLOCKS_PER_BIT = 50
) (
    input wire clk,
    input wire rst,
    input wire line,
    output reg came,
    output wire [7:0] data
);

localparam HALF = CLOCKS_PER_BIT / 2;

// The line knows nothing of the clock: it passes two registers before anything is decided by it.
reg [1:0] seen;
wire now = seen[1];

reg receiving;
reg [3:0] bits_left;                // start bit, data and stop bit still to be sampled, less one
reg [15:0] wait_left;               // cycles to the middle of the next one
reg [7:0] bits;
assign data = bits;

always @(posedge clk) begin
    seen <= {seen[0], line};
    came <= 0;
    if (rst) begin
        seen <= 2'b11;
        receiving <= 0;
    end else if (!receiving) begin
        receiving <= !now;
        bits_left <= 9;
        wait_left <= HALF - 1;
    end else if (wait_left != 0) begin
        wait_left <= wait_left - 16'd1;
    end else begin
        bits_left <= bits_left - 4'd1;
        wait_left <= CLOCKS_PER_BIT - 1;
        if (bits_left == 0) begin
            came <= now;
            receiving <= 0;
        end else if (bits_left == 9) begin
            // A glitch is no start bit.
            receiving <= !now;
        end else begin
            bits <= {now, bits[7:1]};
        end
    end
end

endmodule


module millstream_transmitter #(
    parameter CLOCKS_PER_BIT = 50
) (
    input wire clk,
    input wire rst,
    input wire valid,
    output wire ready,
    input wire [7:0] data,
    output wire line
);

reg [9:0] bits;                     // the lowest is on the line
reg [3:0] bits_left;                // still on the line or to follow
reg [15:0] wait_left;
assign line = bits[0];
assign ready = bits_left == 0;

always @(posedge clk) begin
    if (rst) begin
        bits <= 10'h3ff;
        bits_left <= 0;
    end else if (ready) begin
        if (valid) begin
            bits <= {1'b1, data, 1'b0};
            bits_left <= 10;
            wait_left <= CLOCKS_PER_BIT - 1;
        end
    end else if (wait_left != 0) begin
        wait_left <= wait_left - 16'd1;
    end else begin
        bits <= {1'b1, bits[9:1]};
        bits_left <= bits_left - 4'd1;
        wait_left <= CLOCKS_PER_BIT - 1;
    end
end

endmodule

`default_nettype wire
