"""On any graph of steps that move, split, join and mix channels, pruned equals masked, and the result saves and reloads."""
