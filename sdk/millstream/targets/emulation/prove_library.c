/* Runs the functions of ./step.so for a host that watches; their names are the arguments.
 *
 * A request is in words of 64 bits: which function, how many runs, bytes of scratch, how many buffers are given
 * and how many taken, and the bytes of each; then what is given. The answer is what is taken, which is filled
 * with ones before, and so is the scratch: NaN, as a float.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FUNCTION, RUNS, SCRATCH, GIVEN, TAKEN, WORDS };

static void *memory(size_t bytes)
{
    const size_t whole = (bytes + 64) / 64 * 64;
    void *made = aligned_alloc(64, whole);
    return made ? memset(made, 255, whole) : NULL;
}

static void *weights(void)
{
    FILE *file = fopen("weights.bin", "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) {
        return NULL;
    }
    const long bytes = ftell(file);
    void *made = bytes < 0 ? NULL : memory((size_t)bytes);
    rewind(file);
    return made && fread(made, 1, (size_t)bytes, file) == (size_t)bytes ? made : NULL;
}

/* What a request asks for; false when the host has gone. */
static int serve(void *library, char **names, void *constants)
{
    uint64_t head[WORDS];
    if (fread(head, sizeof head, 1, stdin) != 1) {
        return 0;
    }
    const uint64_t count = head[GIVEN] + head[TAKEN];
    uint64_t *bytes = memory(count * sizeof *bytes);
    uintptr_t *table = memory((3 + count) * sizeof *table);
    if (!bytes || !table || fread(bytes, sizeof *bytes, count, stdin) != count) {
        return 0;
    }
    table[0] = head[RUNS];
    table[1] = (uintptr_t)constants;
    table[2] = (uintptr_t)memory(head[SCRATCH]);
    for (uint64_t i = 0; i < count; ++i) {
        table[3 + i] = (uintptr_t)memory(bytes[i]);
        if (i < head[GIVEN] && fread((void *)table[3 + i], 1, bytes[i], stdin) != bytes[i]) {
            return 0;
        }
    }
    void (*function)(const void *);
    *(void **)&function = dlsym(library, names[head[FUNCTION]]);
    function(table);
    for (uint64_t i = 0; i < count; ++i) {
        if (i >= head[GIVEN] && fwrite((void *)table[3 + i], 1, bytes[i], stdout) != bytes[i]) {
            return 0;
        }
        free((void *)table[3 + i]);
    }
    free((void *)table[2]);
    free(table);
    free(bytes);
    return fflush(stdout) == 0;
}

int main(int count, char **arguments)
{
    void *library = dlopen("./step.so", RTLD_NOW);
    for (int i = 1; library && i < count; ++i) {
        if (!dlsym(library, arguments[i])) {
            library = NULL;
        }
    }
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    void *constants = weights();
    while (constants && serve(library, arguments + 1, constants)) {
    }
    return constants ? 0 : 1;
}
