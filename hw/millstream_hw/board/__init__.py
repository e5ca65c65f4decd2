"""From the engine to a board: its pins and clock, the serial line to the host, and a model of all of it."""
