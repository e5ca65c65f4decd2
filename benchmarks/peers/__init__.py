"""What one would use instead: one file per runtime, each with conversions and a way to open their files.

A conversion takes a workload's letter and an empty folder; opening takes the folder and returns a step. Heavy
imports stand inside the functions, so that opening loads what running needs and nothing of the converter.
Each is called the fastest way that its Python package allows, private calls included.
"""
