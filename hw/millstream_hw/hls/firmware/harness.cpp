// Streams frames through the top, as a program on the host would.
//
//     harness IN_WORDS OUT_WORDS FRAMES SCHEDULE RESULTS
//
// SCHEDULE: for each frame one int16 flag (1: it begins a new stream) and its words.
// RESULTS: the words of every frame. Ends with 3 when the schedule is short, and with 5 when the top gives
// other words than asked for, or marks the wrong one as the last.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "millstream_top.h"

int main(int count, char **texts) {
    if (count != 6) return 2;
    const int in_words = atoi(texts[1]), out_words = atoi(texts[2]), frames = atoi(texts[3]);
    FILE *schedule = fopen(texts[4], "rb"), *results = fopen(texts[5], "wb");
    if (!schedule || !results) return 2;
    hls::stream<stream_word> in("in"), out("out");
    std::vector<int16_t> frame(in_words + 1), result(out_words);
    for (int t = 0; t < frames; t++) {
        if (fread(frame.data(), 2, frame.size(), schedule) != frame.size()) return 3;
        for (int i = 0; i < in_words; i++) {
            stream_word word;
            word.data = frame[i + 1];
            word.last = i == in_words - 1;
            in.write(word);
        }
        millstream_top(in, out, frame[0] != 0);
        for (int i = 0; i < out_words; i++) {
            if (out.empty()) return 5;
            const stream_word word = out.read();
            if (bool(word.last) != (i == out_words - 1)) return 5;
            result[i] = int16_t(word.data.to_int());
        }
        if (!out.empty() || !in.empty()) return 5;
        fwrite(result.data(), 2, result.size(), results);
    }
    return fclose(results) || fclose(schedule) ? 2 : 0;
}
