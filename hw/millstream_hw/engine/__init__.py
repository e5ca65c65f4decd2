"""The sequential engine: a step as a microprogram over block RAM, with a few multipliers that take turns."""
