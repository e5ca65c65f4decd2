/* From reset into the C library's own start, which serves standard input and output by semihosting. */
#include <stdint.h>
#include <stdlib.h>

extern uint32_t stack_top[];
extern void _start(void);

static void reset(void)
{
    *(volatile uint32_t *)0xE000ED88 |= 0xFU << 20; /* the floating-point unit: coprocessors 10 and 11 */
    __asm volatile("dsb\n\tisb");
    _start();
}

static void fault(void)
{
    _Exit(70);
}

/* Initial stack, reset, then the faults from NMI to UsageFault. */
__attribute__((section(".vectors"), used)) static void (*const vectors[])(void) = {
    (void (*)(void))stack_top, reset, fault, fault, fault, fault, fault,
};
