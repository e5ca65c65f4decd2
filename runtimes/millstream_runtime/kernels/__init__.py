"""How the stages of a program are computed in vectors, whatever language the code is in.

The choice of loops, blocks, rows and dot products is made here once; an assembler (`assembler.py`) writes it
down, as TVMScript on the host or as LLVM's instructions through Numba on the device.
"""
