"""What the help says of options that several commands have."""

from __future__ import annotations

MODEL = "An .onnx or .irc file, or package.module:function returning a torch module and its example inputs."
DATA = (
    "An .npz file (arrays named as the inputs, samples stacked along a new first axis), a folder of images with "
    "--preprocess, or package.module:function giving an iterable of samples."
)
PREPROCESS = (
    "How an image becomes an input: size=224,crop=0.875,mean=127,std=128,layout=nchw; also color=rgb|bgr|gray, "
    "resample=bicubic|bilinear|nearest, dtype=float32|uint8. Mean and std are in pixels (0 to 255), one number or one "
    "for each channel (123.7:116.3:103.5); crop is the middle part that is used."
)
DIMS = "Sizes of the inputs' symbolic dimensions, as N=8,T=128"
EVALUATE = (
    "package.module:function that is called with a function that runs the model on one input, and returns a number."
)
LABELS = "The array of the .npz file that holds the classes, one a sample: prints top-1 accuracy."
ENERGY = "A TOML file with what arithmetic and memory cost in pJ; by default the numbers of Horowitz, ISSCC 2014."
BUDGET = (
    "The most that a model may take, as bytes=1.5MB,latency=2: of bytes (of the file), weight_bytes (of the tensors in "
    "it), parameters, macs, flops, peak_memory (bytes), latency (ms, median) and energy (uJ)."
)
