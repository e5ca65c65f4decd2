/* What a Cortex-M needs before main: a vector table, memory in order, the floating-point unit switched on.
 *
 * Input and output go through semihosting: the debugger, or QEMU, serves stdin and stdout. A board of your own
 * brings its maker's startup file and linker script instead of these; the step asks for nothing special.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern uint32_t stack_top[], data_load[], data_start[], data_end[], bss_start[], bss_end[];
extern void initialise_monitor_handles(void);
extern int main(void);

void reset(void);
static void fault(void);

/* Coprocessor Access Control Register: two bits each for coprocessors 10 and 11, which are the FPU. */
#define CPACR (*(volatile uint32_t *)0xE000ED88)
#define FPU_FULL_ACCESS (0xFU << 20)

typedef union {
    uint32_t *stack;
    void (*handler)(void);
} vector;

/* Initial stack, reset, then the faults from NMI to UsageFault. */
__attribute__((section(".vectors"), used)) static const vector vectors[] = {
    {.stack = stack_top}, {.handler = reset}, {.handler = fault}, {.handler = fault},
    {.handler = fault},   {.handler = fault}, {.handler = fault},
};

void reset(void)
{
    CPACR |= FPU_FULL_ACCESS;
    __asm volatile("dsb\n\tisb"); /* the switch is thrown before the first float is touched */
    memcpy(data_start, data_load, (size_t)((char *)data_end - (char *)data_start));
    memset(bss_start, 0, (size_t)((char *)bss_end - (char *)bss_start));
    initialise_monitor_handles();
    exit(main());
}

static void fault(void)
{
    _Exit(70);
}
