"""The road through high-level synthesis: hls4ml writes C++ that keeps every bit of the golden model."""
