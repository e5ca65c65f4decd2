// The sequential engine: a microprogram of loop nests over one data memory, 16-bit words.
//
// For each point (i, j) of an instruction:
//     sum = bias + sum over k of data[a] * data[b]              one multiplier, or
//     sum = bias + sum over k of data[a] * weights[k][lane]     LANES of them, LANES results at a time; weights
//                                                               of two words: high halves first, then low ones
//     y = clip(sum >>> shift, low, high), then table[y] when it looks up
//         an inverse first finds how many powers of four the sum reaches, shifts by twice as much, and shifts
//         what the table gives
//     data[out] = y
// A frame comes in word by word, the program runs, the results go out word by word. Synchronous reset at any
// time: the reset program writes the initial states, and the next word in is the first of a frame. Constants whose
// memory wakes up empty are loaded first, once, through the same port; a reset before the last begins it again.

`default_nettype none

module millstream_engine #(
    parameter LANES = 8,
    parameter WEIGHT = 16,          // bits of a weight in memory, 16 or 8
    parameter SUM = 48,             // bits of a sum
    parameter BIAS = 48,            // bits of a bias
    parameter DATA = 4096,          // words of each memory
    parameter WEIGHTS = 1024,
    parameter BIASES = 256,
    parameter TABLES = 2048,
    parameter PROGRAM = 64,
    parameter IN_BASE = 2,
    parameter IN_WORDS = 1,
    parameter OUT_BASE = 3,
    parameter OUT_WORDS = 1,
    parameter LOAD_WORDS = 0,       // words that weights and tables are loaded with; 0 where they are there
    parameter INVERSE = 0,          // whether any instruction is an inverse
    parameter FRAME_START = 1       // place of the frame program; the reset program starts at 0
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [15:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output wire [15:0] out_data,
    output wire out_last
);

`include "instruction.vh"

// --- memories: every read is registered twice, the second time where block RAM has its own register ---

reg [15:0] data_a [0:DATA-1];
reg [15:0] data_b [0:DATA-1];
reg signed [BIAS-1:0] biases [0:BIASES-1];
reg [INSTRUCTION_BITS-1:0] code [0:PROGRAM-1];

initial begin
    $readmemh("data.hex", data_a);
    $readmemh("data.hex", data_b);
    $readmemh("biases.hex", biases);
    $readmemh("program.hex", code);
end

reg write;
reg [15:0] write_place;
reg [15:0] write_word;
wire [15:0] place_a;
wire [15:0] place_b;
reg signed [15:0] read_a;
reg signed [15:0] read_b;

// A read of the word being written is never used; saying so keeps bypass logic out of the block RAM.
always @(posedge clk) begin
    if (write) data_a[write_place[$clog2(DATA)-1:0]] <= write_word;
    read_a <= (write && write_place == place_a) ? 16'hx : data_a[place_a[$clog2(DATA)-1:0]];
end
always @(posedge clk) begin
    if (write) data_b[write_place[$clog2(DATA)-1:0]] <= write_word;
    read_b <= (write && write_place == place_b) ? 16'hx : data_b[place_b[$clog2(DATA)-1:0]];
end

// --- control ---

localparam RESET = 3'd0, FETCH = 3'd1, BEGIN = 3'd2, RUN = 3'd3, FLUSH = 3'd4, LOAD = 3'd5, SEND = 3'd6;
localparam FILL = 3'd7;

reg [2:0] state;
reg [1:0] wait_left;
localparam PARTS = (LANES * WEIGHT + 15) / 16;
reg loaded = LOAD_WORDS == 0;
reg [7:0] load_part;                // which 16 bits of a word of constants come next
reg in_frame;                       // the frame program runs, not the reset program
reg [15:0] counter;                 // places in the program
reg [15:0] port_left;               // words of the port still to come or to go, less one
reg [15:0] port_place;
reg [INSTRUCTION_BITS-1:0] fetched;
reg [INSTRUCTION_BITS-1:0] word;
always @(posedge clk) begin
    fetched <= code[counter[$clog2(PROGRAM)-1:0]];
    word <= fetched;
end

// Fields that outlive BEGIN, because the next word is fetched meanwhile.
reg uses_lanes, looks_up, halves, inverts, twice, is_last;
reg [5:0] shift;
reg signed [15:0] low, high;
reg [15:0] table_base;

// Issue side: running addresses, where the current row of each loop started, and what is left of the loops.
reg [15:0] a_now, a_row, a_plane, b_now, b_row, b_plane, weight_now;
reg [15:0] a_i, a_j, a_k, b_i, b_j, b_k;
reg [15:0] i_left, j_left, k_left, n_j, n_k;
reg first, half;                    // the first term of a sum; the second tile of two, of low halves

// Result side: the same for the output and the bias.
reg [15:0] out_now, out_plane, bias_now, bias_plane;
reg [15:0] out_i, out_j, bias_i, bias_j;
reg [15:0] m_left, l_left, m_j;
reg results_left;

wire issue = state == RUN;
wire k_ends = k_left == 0;
wire sum_ends = k_ends && (half || !halves);
wire j_ends = j_left == 0;
wire i_ends = i_left == 0;
assign place_a = (state == SEND) ? port_place : a_now;
assign place_b = b_now;

// --- multiply and accumulate ---

reg valid_1, valid_2, valid_3, valid_4, sums_ready;
reg done_1, done_2, done_3, done_4, first_1, first_2, first_3, first_4, half_1, half_2, half_3, half_4;
// What block RAM gives is held beside it, then once more beside the multipliers, which are far apart.
reg signed [15:0] held_a, factor_a;
wire [LANES*WEIGHT-1:0] weight_1;
reg [LANES*WEIGHT-1:0] held_b, factor_b;
reg [15:0] held_single, single_b;
// A low half is a number of its own without a sign; its high half was summed up before it.
wire [LANES*16-1:0] lane_b;
generate
    genvar at;
    for (at = 0; at < LANES; at = at + 1) begin : extended
        wire [WEIGHT-1:0] weight = factor_b[at*WEIGHT +: WEIGHT];
        if (WEIGHT == 16) assign lane_b[at*16 +: 16] = weight;
        else assign lane_b[at*16 +: 16] = {{16 - WEIGHT{weight[WEIGHT-1] && !half_3}}, weight};
    end
endgenerate
// Chosen behind the registers: block RAM is slow, and nothing may stand between it and them.
wire [15:0] first_b = uses_lanes ? lane_b[15:0] : single_b;
reg signed [31:0] products [0:LANES-1];
reg signed [SUM-1:0] sums [0:LANES-1];
reg signed [SUM-1:0] waiting [0:LANES-1];
reg [7:0] waiting_left;

wire signed [15:0] found_8;
wire [15:0] table_place;
millstream_constants #(.BITS(LANES * WEIGHT), .WEIGHTS(WEIGHTS), .TABLES(TABLES)) constants (
    .clk(clk), .weight_place(weight_now), .weight(weight_1),
    .looks_up(looks_up), .table_place(table_place), .entry(found_8),
    .load(state == FILL && in_valid), .load_place(port_place), .load_part(load_part), .load_word(in_data)
);

wire signed [SUM-1:0] nothing = 0;
wire shifts = WEIGHT < 16 && half_4;
integer lane;
always @(posedge clk) begin
    {held_a, factor_a} <= {read_a, held_a};
    {held_b, factor_b} <= {weight_1, held_b};
    {held_single, single_b} <= {read_b, held_single};
    for (lane = 0; lane < LANES; lane = lane + 1) begin
        products[lane] <= factor_a * $signed(lane == 0 ? first_b : lane_b[lane*16 +: 16]);
        if (valid_4)
            sums[lane] <= (!first_4 ? sums[lane] : shifts ? sums[lane] <<< WEIGHT : nothing) + products[lane];
    end
    if (sums_ready) for (lane = 0; lane < LANES; lane = lane + 1) waiting[lane] <= sums[lane];
    else for (lane = 0; lane < LANES - 1; lane = lane + 1) waiting[lane] <= waiting[lane + 1];
end

// --- bias, shift, clip, table, write: one result a cycle ---

wire emit = waiting_left != 0 && results_left;
localparam STAGES = INVERSE ? 16 : 9;
reg [STAGES:1] emits;
reg [16*STAGES-1:0] places;         // where the result of each stage goes, the first lowest
reg signed [SUM-1:0] sum_1, sum_2, biased, coarse, fine;
reg signed [BIAS-1:0] bias_1, bias_2;
wire signed [SUM-1:0] to_shift;
wire [2:0] by_eights, by_ones;
wire [15:0] result;
reg is_below, is_above;
reg signed [15:0] middle, kept, kept_8, kept_9, found_9;
assign table_place = table_base + kept;

always @(posedge clk) begin
    bias_1 <= biases[bias_now[$clog2(BIASES)-1:0]];
    bias_2 <= bias_1;
    sum_1 <= waiting[0];
    sum_2 <= sum_1;
    biased <= sum_2 + bias_2;
    coarse <= to_shift >>> {by_eights, 3'b000};
    fine <= coarse >>> by_ones;
    {is_below, is_above, middle} <= {fine < low, fine > high, fine[15:0]};
    kept <= is_below ? low : is_above ? high : middle;
    kept_8 <= kept;
    found_9 <= found_8;
    kept_9 <= kept_8;
    places <= {places[16*(STAGES-1)-1:0], out_now};
    write_word <= state == LOAD ? in_data : result;
    write_place <= state == LOAD ? port_place : places[16*STAGES-1 -: 16];
    write <= !rst && (state == LOAD ? in_valid : emits[STAGES]);
end

// --- inverses: where the leading one of a sum lies decides by how much it and what it finds are shifted ---

generate if (INVERSE) begin : magnitude
    localparam MANTISSA = 9;        // bits of an address below the leading one, or one more
    localparam GROUPS = (SUM + 7) / 8;
    wire [8*GROUPS-1:0] sum = biased[SUM-1] ? 0 : biased;
    reg [4*SUM-1:0] held;           // the sum meanwhile
    reg [GROUPS-1:0] some;          // groups of four pairs of bits with a one,
    reg [2*GROUPS-1:0] inner;       // and its first pair in each
    reg [5:0] leading, level, by, by_later;
    reg [4:0] narrow;
    reg [6*5-1:0] narrows;          // until the table has answered
    reg [1:0] narrow_later;
    reg [17:0] doubled_1, doubled_2;
    reg [16:0] rounded;
    reg [3*16-1:0] plain;
    wire [5:0] lowest = (shift + MANTISSA) >> 1;
    wire [6:0] wanted = twice ? {level, 1'b0} : {1'b0, level};
    integer group;
    always @(posedge clk) begin
        held <= {held[3*SUM-1:0], biased};
        for (group = 0; group < GROUPS; group = group + 1) begin
            some[group] <= |sum[8*group +: 8];
            inner[2*group +: 2] <= |sum[8*group+6 +: 2] ? 2'd3 : |sum[8*group+4 +: 2] ? 2'd2 : |sum[8*group+2 +: 2];
        end
        leading <= 0;
        for (group = 0; group < GROUPS; group = group + 1)
            if (some[group]) leading <= 4 * group + inner[2*group +: 2];
        level <= inverts && leading > lowest ? leading - lowest : 6'd0;
        by <= shift + {level[4:0], 1'b0};
        by_later <= by;
        narrow <= wanted > 31 ? 5'd31 : wanted[4:0];
        narrows <= {narrows[24:0], narrow};
        // One bit more than the result has, for the half.
        doubled_1 <= {found_9[14:0], 3'b000} >> {narrows[29:27], 2'b00};
        narrow_later <= narrows[26:25];
        doubled_2 <= doubled_1 >> narrow_later;
        rounded <= doubled_2[17:1] + doubled_2[0];
        plain <= {plain[31:0], looks_up ? found_9 : kept_9};
    end
    assign to_shift = held[4*SUM-1 -: SUM];
    assign by_eights = by[5:3];
    assign by_ones = by_later[2:0];
    assign result = !inverts ? plain[47:32] : |rounded[16:15] ? 16'h7fff : rounded[15:0];
end else begin : direct
    assign to_shift = biased;
    assign by_eights = shift[5:3];
    assign by_ones = shift[2:0];
    assign result = looks_up ? found_9 : kept_9;
end endgenerate

wire busy = valid_1 | valid_2 | valid_3 | valid_4 | sums_ready | (waiting_left != 0) | (|emits) | write;

always @(posedge clk) begin
    if (rst) begin
        {valid_1, valid_2, valid_3, valid_4, sums_ready} <= 0;
        emits <= 0;
        waiting_left <= 0;
    end else begin
        {valid_4, valid_3, valid_2, valid_1} <= {valid_3, valid_2, valid_1, issue};
        {done_4, done_3, done_2, done_1} <= {done_3, done_2, done_1, issue && sum_ends};
        {half_4, half_3, half_2, half_1} <= {half_3, half_2, half_1, half};
        {first_4, first_3, first_2, first_1} <= {first_3, first_2, first_1, first};
        sums_ready <= valid_4 && done_4;
        if (sums_ready) waiting_left <= uses_lanes ? LANES[7:0] : 8'd1;
        else if (waiting_left != 0) waiting_left <= waiting_left - 8'd1;
        emits <= {emits[STAGES-1:1], emit};
    end
end

// --- loops ---

always @(posedge clk) begin
    if (state == BEGIN) begin
        {a_now, a_row, a_plane} <= {3{`FIELD_A}};
        {b_now, b_row, b_plane} <= {3{`FIELD_B}};
        weight_now <= `FIELD_WEIGHT;
        {a_i, a_j, a_k, b_i, b_j, b_k} <=
            {`FIELD_A_I, `FIELD_A_J, `FIELD_A_K, `FIELD_B_I, `FIELD_B_J, `FIELD_B_K};
        {i_left, j_left, k_left, n_j, n_k} <= {`FIELD_N_I, `FIELD_N_J, `FIELD_N_K, `FIELD_N_J, `FIELD_N_K};
        {first, half} <= 2'b10;
        {out_now, out_plane, bias_now, bias_plane} <= {{2{`FIELD_OUT}}, {2{`FIELD_BIAS}}};
        {out_i, out_j, bias_i, bias_j} <= {`FIELD_OUT_I, `FIELD_OUT_J, `FIELD_BIAS_I, `FIELD_BIAS_J};
        {m_left, l_left, m_j} <= {`FIELD_M_I, `FIELD_M_J, `FIELD_M_J};
        results_left <= 1;
        {uses_lanes, looks_up, is_last, halves} <= {`FIELD_LANES, `FIELD_LOOKUP, `FIELD_LAST, `FIELD_HALVES};
        {inverts, twice} <= {`FIELD_INVERSE, `FIELD_TWICE};
        {shift, low, high, table_base} <= {`FIELD_SHIFT, `FIELD_LOW, `FIELD_HIGH, `FIELD_TABLE};
    end else begin
        if (issue) begin
            weight_now <= weight_now + 16'd1;
            first <= k_ends;
            if (!k_ends) begin
                k_left <= k_left - 16'd1;
                a_now <= a_now + a_k;
                b_now <= b_now + b_k;
            end else begin
                k_left <= n_k;
                half <= halves && !half;
                if (!j_ends) begin
                    j_left <= j_left - 16'd1;
                    {a_now, a_row} <= {2{a_row + a_j}};
                    {b_now, b_row} <= {2{b_row + b_j}};
                end else begin
                    j_left <= n_j;
                    i_left <= i_left - 16'd1;
                    {a_now, a_row, a_plane} <= {3{a_plane + a_i}};
                    {b_now, b_row, b_plane} <= {3{b_plane + b_i}};
                end
            end
        end
        if (emit) begin
            if (l_left != 0) begin
                l_left <= l_left - 16'd1;
                out_now <= out_now + out_j;
                bias_now <= bias_now + bias_j;
            end else begin
                l_left <= m_j;
                m_left <= m_left - 16'd1;
                results_left <= m_left != 0;
                {out_now, out_plane} <= {2{out_plane + out_i}};
                {bias_now, bias_plane} <= {2{bias_plane + bias_i}};
            end
        end
    end
end

// --- the order of things ---

reg sending;
assign in_ready = state == LOAD || state == FILL;
assign out_valid = state == SEND && sending;
assign out_data = factor_a;
assign out_last = port_left == 0;

always @(posedge clk) begin
    if (rst) begin
        state <= RESET;
        sending <= 0;
    end else case (state)
        RESET: begin
            in_frame <= 0;
            counter <= 0;
            wait_left <= 2;
            port_left <= LOAD_WORDS - 1;
            port_place <= 0;
            load_part <= 0;
            state <= loaded ? FETCH : FILL;
        end
        FILL: if (in_valid) begin
            port_left <= port_left - 16'd1;
            load_part <= load_part == PARTS - 1 ? 8'd0 : load_part + 8'd1;
            if (load_part == PARTS - 1) port_place <= port_place + 16'd1;
            if (port_left == 0) begin
                loaded <= 1;
                state <= RESET;
            end
        end
        FETCH: begin
            wait_left <= wait_left - 2'd1;
            if (wait_left == 0) state <= BEGIN;
        end
        BEGIN: begin
            counter <= counter + 16'd1;
            state <= RUN;
        end
        RUN: if (k_ends && j_ends && i_ends) state <= FLUSH;
        FLUSH: if (!busy) begin
            port_left <= in_frame ? OUT_WORDS - 1 : IN_WORDS - 1;
            port_place <= in_frame ? OUT_BASE : IN_BASE;
            wait_left <= 2;
            state <= !is_last ? BEGIN : in_frame ? SEND : LOAD;
        end
        LOAD: if (in_valid) begin
            port_left <= port_left - 16'd1;
            port_place <= port_place + 16'd1;
            if (port_left == 0) begin
                in_frame <= 1;
                counter <= FRAME_START;
                wait_left <= 2;
                state <= FETCH;
            end
        end
        SEND: begin
            // The word has to pass three registers before it may be taken.
            if (!sending) begin
                wait_left <= wait_left - 2'd1;
                if (wait_left == 0) sending <= 1;
            end else if (out_ready) begin
                sending <= 0;
                wait_left <= 2;
                port_left <= port_left - 16'd1;
                port_place <= port_place + 16'd1;
                if (port_left == 0) begin
                    port_left <= IN_WORDS - 1;
                    port_place <= IN_BASE;
                    state <= LOAD;
                end
            end
        end
        default: state <= RESET;
    endcase
end

endmodule

`default_nettype wire
