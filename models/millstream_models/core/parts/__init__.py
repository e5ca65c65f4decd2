"""Layers that several systems share; each acts on the last axes and knows nothing of time."""
