/* One stream without Python: rows in, outputs out, as they come.
 *
 *     step < rows > outputs          from standard input to standard output
 *     step unix:PATH > outputs       from the first client of a Unix socket, which is made and removed
 *     step --structs < in > out      inputs as structs of step.h; outputs, then the final state, as structs
 *     step --time N < rows           median and 99th percentile of N steps on these rows, in nanoseconds
 *
 * A row is one frame, or one sample where the model cuts its frames: little-endian numbers in C order, nothing
 * between them. As many outputs come as there are frames: with a look-ahead the first steps give none, and at
 * the end it is drained. Exit codes: 0 ok, 1 reading or writing failed, 2 usage, or an end within a row.
 *
 * `row.h` is made for the model; MODEL is the prefix of the names in step.h.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "step.h"

#define PASTE(prefix, name) prefix##_##name
#define NAME(prefix, name) PASTE(prefix, name)
#define STEP(name) NAME(MODEL, name)

/* Where one tensor lies in its struct. */
struct part {
    size_t offset, bytes;
};

#include "row.h"

enum { OK, BROKEN, MISUSED };

static STEP(input) in;
static STEP(output) out;
static STEP(scratch) scratch;
static STEP(state) state[2];
static int now;
static unsigned char window[FRAME_ROWS * ROW_BYTES];
static unsigned char result[OUTPUT_BYTES];

static int failed(const char *what)
{
    fprintf(stderr, "error: %s: %s\n", what, strerror(errno));
    return BROKEN;
}

/* As many bytes as there are before the end, -1 when reading fails. */
static ssize_t read_all(int from, unsigned char *to, size_t count)
{
    size_t done = 0;
    while (done < count) {
        ssize_t got = read(from, to + done, count - done);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -1;
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    return (ssize_t)done;
}

static bool write_all(int to, const unsigned char *from, size_t count)
{
    while (count) {
        ssize_t put = write(to, from, count);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return false;
        }
        from += put;
        count -= (size_t)put;
    }
    return true;
}

static void begin(void)
{
    now = 0;
    STEP(initial_state)(&state[now]);
}

/* The step reads one state and writes the other; then they change places. */
static void take_step(void)
{
    STEP(step)(&in, &state[now], &out, &state[!now], &scratch);
    now = !now;
}

static void lay_window(void)
{
    const unsigned char *from = window;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        memcpy((unsigned char *)&in + inputs[i].offset, from, inputs[i].bytes);
        from += inputs[i].bytes;
    }
    SET_VALID(&in, true);
}

static bool give_output(void)
{
    unsigned char *to = result;
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
        memcpy(to, (const unsigned char *)&out + outputs[i].offset, outputs[i].bytes);
        to += outputs[i].bytes;
    }
    return write_all(STDOUT_FILENO, result, OUTPUT_BYTES);
}

static int stream(int from)
{
    size_t kept = 0;
    unsigned long long steps = 0;
    ssize_t got;
    begin();
    while ((got = read_all(from, window + kept, sizeof window - kept)) == (ssize_t)(sizeof window - kept)) {
        lay_window();
        take_step();
        if (++steps > LOOK_AHEAD && !give_output()) {
            return failed("writing");
        }
        kept = (FRAME_ROWS - HOP_ROWS) * ROW_BYTES;
        memmove(window, window + HOP_ROWS * ROW_BYTES, kept);
    }
    if (got < 0) {
        return failed("reading");
    }
    memset(&in, 0, sizeof in);
    for (int drained = 0; drained < LOOK_AHEAD; drained++) {
        take_step();
        if (++steps > LOOK_AHEAD && !give_output()) {
            return failed("writing");
        }
    }
    if ((kept + (size_t)got) % ROW_BYTES) {
        fprintf(stderr, "error: the input ends within a row of %d bytes\n", ROW_BYTES);
        return MISUSED;
    }
    return OK;
}

static int serve_one(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        fprintf(stderr, "error: the path of a socket may have %zu bytes\n", sizeof address.sun_path - 1);
        return MISUSED;
    }
    strcpy(address.sun_path, path);
    int door = socket(AF_UNIX, SOCK_STREAM, 0);
    umask(0177);
    if (door < 0 || bind(door, (struct sockaddr *)&address, sizeof address) || listen(door, 1)) {
        return failed(path);
    }
    int client = accept(door, NULL, NULL);
    unlink(path);
    return client < 0 ? failed(path) : stream(client);
}

static int structs(void)
{
    ssize_t got;
    begin();
    while ((got = read_all(STDIN_FILENO, (unsigned char *)&in, sizeof in)) == (ssize_t)sizeof in) {
        take_step();
        if (!write_all(STDOUT_FILENO, (const unsigned char *)&out, sizeof out)) {
            return failed("writing");
        }
    }
    if (got) {
        return got < 0 ? failed("reading") : MISUSED;
    }
    return write_all(STDOUT_FILENO, (const unsigned char *)&state[now], sizeof state[now]) ? OK : failed("writing");
}

static int ascending(const void *left, const void *right)
{
    long long a = *(const long long *)left, b = *(const long long *)right;
    return (a > b) - (a < b);
}

static long long nanoseconds(void)
{
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return moment.tv_sec * 1000000000LL + moment.tv_nsec;
}

/* Each frame is laid where the step reads it before the clock starts; the last one stays. */
static int time_steps(long count)
{
    long long *times = malloc((size_t)count * sizeof *times);
    if (!times || read_all(STDIN_FILENO, window, sizeof window) != (ssize_t)sizeof window) {
        return failed("timing needs memory and one frame");
    }
    begin();
    lay_window();
    for (long i = 0; i < count; i++) {
        long long start = nanoseconds();
        take_step();
        times[i] = nanoseconds() - start;
        if (read_all(STDIN_FILENO, window, sizeof window) == (ssize_t)sizeof window) {
            lay_window();
        }
    }
    qsort(times, (size_t)count, sizeof *times, ascending);
    printf("%lld %lld\n", times[count / 2], times[count - 1 - count / 100]);
    free(times);
    return OK;
}

int main(int count, char **arguments)
{
    if (count == 1) {
        return stream(STDIN_FILENO);
    }
    if (count == 2 && !strncmp(arguments[1], "unix:", 5)) {
        return serve_one(arguments[1] + 5);
    }
    if (count == 2 && !strcmp(arguments[1], "--structs")) {
        return structs();
    }
    if (count == 3 && !strcmp(arguments[1], "--time") && atol(arguments[2]) > 0) {
        return time_steps(atol(arguments[2]));
    }
    fprintf(stderr, "usage: %s [unix:PATH | --structs | --time N]\n", arguments[0]);
    return MISUSED;
}
