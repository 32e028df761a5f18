"""Graphs as ONNX protos, both ways, without files: what the front end, the execution and the backend share."""
