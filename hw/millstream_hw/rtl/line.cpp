// The circuit behind its serial line: bytes from standard input go bit by bit to its receiving pin, and what its
// sending pin says goes as bytes to standard output, until the input ends.
//
//     line CLOCKS_PER_BIT
//
// CLOCKS_PER_BIT is a real number: the two ends of a line never agree about time to the last digit.

#include <poll.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "Vmillstream_serial.h"
#include "verilated.h"

// Cycles from one look at the input to the next.
static const int GLANCE = 64;

int main(int count, char **texts) {
    if (count != 2) return 2;
    const double period = atof(texts[1]);
    if (!(period >= 2)) return 2;
    auto top = std::make_unique<Vmillstream_serial>();
    auto tick = [&]() {
        top->clk = 1;
        top->eval();
        top->clk = 0;
        top->eval();
    };
    top->receive = 1;
    top->rst = 1;
    for (int i = 0; i < 3; i++) tick();
    top->rst = 0;

    uint8_t queue[4096];
    ssize_t queued = 0, at = 0;
    int bits_out = 0, bits_in = 0;      // still to be driven, still to be sampled
    unsigned driven = 0, sampled = 0;
    double drive = 0, sample = 0;       // cycles to the next one
    int glance = 0;
    while (true) {
        if (at == queued && glance-- <= 0) {
            // While nothing moves there is no time in here.
            const bool still = !bits_out && drive <= 0 && !bits_in && top->send && !top->busy;
            pollfd input = {0, POLLIN, 0};
            if (poll(&input, 1, still ? -1 : 0) > 0) {
                queued = read(0, queue, sizeof queue);
                if (queued <= 0) return 0;
                at = 0;
            }
            glance = GLANCE;
        }
        if ((drive -= 1) <= 0) {
            if (!bits_out && at < queued) {
                driven = 0x200u | unsigned(queue[at++]) << 1;
                bits_out = 10;
            }
            if (bits_out) {
                top->receive = driven & 1;
                driven >>= 1;
                bits_out--;
                drive += period;
            } else {
                drive = 0;
            }
        }
        tick();
        if (!bits_in && !top->send) {
            bits_in = 10;
            sample = period / 2;
        }
        if (bits_in && (sample -= 1) <= 0) {
            sampled = sampled >> 1 | unsigned(top->send) << 9;
            sample += period;
            if (!--bits_in) {
                const uint8_t byte = uint8_t(sampled >> 1);
                if (!(sampled >> 9 & 1)) return 4;
                if (write(1, &byte, 1) != 1) return 0;
            }
        }
    }
}
