"""FPGA: the step graph in power-of-two fixed point, through hls4ml, da4ml and a sequential engine.

This room is reserved: nothing of it is built yet.
"""
