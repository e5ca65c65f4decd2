"""The unrolled circuit: every constant is wired into logic by da4ml, so a step takes one long cycle."""
