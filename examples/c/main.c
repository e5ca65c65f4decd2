/* Run a step over frames from standard input: the first program to try on a new machine.
 *
 * Reads one MODEL_input after the other, writes a MODEL_output for each, and at the end the MODEL_state, all
 * as the bytes of the structs of step.h; golden.py makes such frames and checks what comes back. MODEL is the
 * prefix of the names in step.h:
 *
 *     millstream extract kws.mill --target c -o kws
 *     cc -std=c11 -O2 -DMODEL=kws -Ikws main.c kws/step.c kws/weights.c -lm -o kws_run
 *     python golden.py frames kws.mill | ./kws_run | python golden.py check kws.mill c
 *
 * A target with a kernel brings kws/weights.S and kws/kernel.o in place of kws/weights.c.
 */
#include <stdio.h>

#include "step.h"

#define PASTE(prefix, name) prefix##_##name
#define NAME(prefix, name) PASTE(prefix, name)
#define STEP(name) NAME(MODEL, name)

static STEP(input) in;
static STEP(output) out;
static STEP(scratch) scratch;
static STEP(state) state[2];

int main(void)
{
    int now = 0;
    STEP(initial_state)(&state[now]);
    while (fread(&in, sizeof in, 1, stdin) == 1) {
        /* The step reads one state and writes the other; then they change places. */
        STEP(step)(&in, &state[now], &out, &state[!now], &scratch);
        now = !now;
        if (fwrite(&out, sizeof out, 1, stdout) != 1) {
            return 1;
        }
    }
    return fwrite(&state[now], sizeof state[now], 1, stdout) != 1 || fflush(stdout) != 0;
}
