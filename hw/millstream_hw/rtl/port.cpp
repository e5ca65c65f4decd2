// The circuit behind its port: frames of little-endian int16 words come in through standard input, results go
// out through standard output, until the input ends.

#include <cstdint>
#include <cstdio>
#include <memory>

#include "Vmillstream_top.h"
#include "verilated.h"

// A circuit that answers nothing for so many cycles never will.
static const uint64_t PATIENCE = 100000000;

int main() {
    auto top = std::make_unique<Vmillstream_top>();
    uint64_t since = 0;
    auto tick = [&]() {
        top->clk = 1;
        top->eval();
        top->clk = 0;
        top->eval();
        return ++since < PATIENCE;
    };
    top->rst = 1;
    for (int i = 0; i < 3; i++) tick();
    top->rst = 0;
    top->eval();
    while (true) {
        bool last = false;
        while (!top->out_valid) {
            int16_t word = 0;
            if (top->in_ready) {
                if (fread(&word, 2, 1, stdin) != 1) return 0;
                since = 0;
            }
            top->in_valid = top->in_ready;
            top->in_data = uint16_t(word);
            top->eval();
            if (!tick()) return 4;
            top->in_valid = 0;
            top->eval();
        }
        top->out_ready = 1;
        while (!last) {
            top->eval();
            if (top->out_valid) {
                const int16_t word = int16_t(top->out_data);
                if (fwrite(&word, 2, 1, stdout) != 1) return 5;
                last = top->out_last;
            }
            if (!tick()) return 4;
        }
        top->out_ready = 0;
        top->eval();
        fflush(stdout);
    }
}
