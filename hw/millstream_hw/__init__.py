"""FPGA: the step graph in power-of-two fixed point becomes a circuit that is equal to it bit for bit.

`circuit` reads a graph of the format `fixed16`; `golden` says what it means; `engine` is a machine that
computes it with a few multipliers. `millstream fpga` plans, builds, simulates, synthesizes and reports.
"""
