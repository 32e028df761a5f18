"""ONNX files and protos to the Graph."""

from irc.frontends.onnx.load import read_onnx

__all__ = ["read_onnx"]
