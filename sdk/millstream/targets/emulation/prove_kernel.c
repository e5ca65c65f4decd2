/* Takes steps for a host that watches: input and state in, output and next state out, as bytes of the structs.
 *
 * What a step must write is filled with ones before, and so is its scratch: NaN, as a float.
 */
#include <stdio.h>
#include <string.h>

#include "step.h"

#define PASTE(prefix, name) prefix##_##name
#define NAME(prefix, name) PASTE(prefix, name)
#define STEP(name) NAME(MODEL, name)

static STEP(input) in;
static STEP(state) state, next;
static STEP(output) out;
static STEP(scratch) scratch;

int main(void)
{
    while (fread(&in, sizeof in, 1, stdin) == 1 && fread(&state, sizeof state, 1, stdin) == 1) {
        memset(&out, 255, sizeof out);
        memset(&next, 255, sizeof next);
        memset(&scratch, 255, sizeof scratch);
        STEP(step)(&in, &state, &out, &next, &scratch);
        if (fwrite(&out, sizeof out, 1, stdout) != 1 || fwrite(&next, sizeof next, 1, stdout) != 1 ||
            fflush(stdout) != 0) {
            return 1;
        }
    }
    return 0;
}
