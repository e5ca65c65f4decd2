"""Steps for other machines that run here in an emulator: how an export proves what this host cannot run.

`machines` says which compiler and which emulator each machine takes, `process` keeps the emulated program
open; `kernel` drives a step behind the C interface, `library` one behind that of the Python runtime.
"""
