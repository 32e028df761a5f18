"""How `cast-float` makes a model's floats smaller.

    formats     the words of `to`, and what a type can hold
    keep        which nodes must compute in float32, and why
    delicate    values that a type cannot hold, or only by losing what they are there for
    compute     nodes in the smaller type, and as few Casts as there can be
    storage     weights in the smaller type, read through a Cast or DequantizeLinear; everything computes in float32
"""
