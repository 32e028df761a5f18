"""Training: ordinary PyTorch on lowered graphs, whose weights then go back into the graph.

    recipe       how to train: the numbers, checked
    data         samples and labels, epoch by epoch, in batches
    chunks       batches as tensors, shared out among processes
    stacking     whether samples may run as one batch
    layers       layers of a graph by name, and the same layers of another
    losses       what is minimized
    matching     losses that hold layers against the teacher's
    objective    model, teacher and losses as one module, on one batch
    weights      which constants are trained, and how
    tying        weights that are one
    batch_norm   batch normalization in training mode, over all processes
    steps        learned step sizes: the scales of FakeQuants
    optimizers   optimizers and learning rates by name
    randomness   what is random, seeded and remembered
    distributed  several processes that train one model
    checkpoint   the state of a training in a file
    identity     what a checkpoint is of
    history      what a training did
    loop         the loop itself
"""
