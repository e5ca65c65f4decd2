"""What stands before a circuit, whether it is simulated or on a board: `ports.json`, which says which tensors
go in and come out and with how many fraction bits, and `around.onnx`, the part of the step that is left for
onnxruntime on this machine.
"""

PORTS, AROUND = "ports.json", "around.onnx"
