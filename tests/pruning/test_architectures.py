"""On every architecture, pruned equals the original with those channels masked: read from the torch module.

The claims and their checks, which `test_architectures_onnx` makes for the files of torch's exporters, stand in `claims`.
"""
