// Drives a circuit through its ports as a bus would: words that come late, a taker that is not always ready,
// resets in the middle of frames. Writes every result, and the cycles that each frame took.
//
//     harness IN_WORDS OUT_WORDS FRAMES P_IN P_OUT SEED < schedule.bin > results.bin
//
// schedule.bin: for each frame one int16 flag (1: reset before it, part of it already sent) and its words.
// results.bin: for each frame its words, then the cycles as two int16, low first, from its first word in to its
// last word out. P_IN and P_OUT are the chances in 100 that a word is offered, or taken, in a cycle. A file
// load.bin beside it goes in first: half of it, a reset, and then the whole, which no later reset may lose.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "Vmillstream_top.h"
#include "verilated.h"

static const uint64_t PATIENCE = 20000000;

int main(int count, char **texts) {
    if (count != 7) return 2;
    const int in_words = atoi(texts[1]), out_words = atoi(texts[2]), frames = atoi(texts[3]);
    const unsigned p_in = atoi(texts[4]), p_out = atoi(texts[5]);
    std::mt19937 random(atoi(texts[6]));
    auto top = std::make_unique<Vmillstream_top>();
    uint64_t cycle = 0;
    auto tick = [&]() {
        top->clk = 1;
        top->eval();
        top->clk = 0;
        top->eval();
        cycle++;
    };
    auto reset = [&]() {
        top->rst = 1;
        top->in_valid = 0;
        top->out_ready = 0;
        for (int i = 0; i < 3; i++) tick();
        top->rst = 0;
        top->eval();
    };
    // Offer words until all are taken; false when the circuit takes none for too long.
    auto send = [&](const int16_t *words, int how_many) {
        const uint64_t start = cycle;
        for (int at = 0; at < how_many;) {
            top->in_valid = random() % 100 < p_in;
            top->in_data = uint16_t(words[at]);
            top->eval();
            const bool taken = top->in_valid && top->in_ready;
            tick();
            at += taken;
            if (cycle - start > PATIENCE) return false;
        }
        top->in_valid = 0;
        top->eval();
        return true;
    };
    auto receive = [&](int16_t *words) {
        const uint64_t start = cycle;
        for (int at = 0; at < out_words;) {
            top->out_ready = random() % 100 < p_out;
            top->eval();
            const bool taken = top->out_valid && top->out_ready;
            if (taken) {
                words[at] = int16_t(top->out_data);
                if (bool(top->out_last) != (at == out_words - 1)) return false;
            }
            tick();
            at += taken;
            if (cycle - start > PATIENCE) return false;
        }
        top->out_ready = 0;
        top->eval();
        return true;
    };

    reset();
    if (FILE *file = fopen("load.bin", "rb")) {
        std::vector<int16_t> load;
        for (int16_t word; fread(&word, 2, 1, file) == 1;) load.push_back(word);
        fclose(file);
        if (!send(load.data(), load.size() / 2)) return 4;
        reset();
        if (!send(load.data(), load.size())) return 4;
    }
    std::vector<int16_t> frame(in_words + 1), result(out_words + 2);
    for (int t = 0; t < frames; t++) {
        if (fread(frame.data(), 2, frame.size(), stdin) != frame.size()) return 3;
        if (frame[0]) {
            const int part = random() % (in_words + 1);
            if (!send(frame.data() + 1, part)) return 4;
            for (int wait = random() % 300; wait > 0; wait--) tick();
            reset();
        }
        const uint64_t start = cycle;
        if (!send(frame.data() + 1, in_words)) return 4;
        if (!receive(result.data())) return 5;
        const uint64_t took = cycle - start;
        result[out_words] = int16_t(took & 0xffff);
        result[out_words + 1] = int16_t(took >> 16);
        fwrite(result.data(), 2, result.size(), stdout);
    }
    return 0;
}
