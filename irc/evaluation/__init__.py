"""Models side by side, and the choice among them: what `irc.compare` and `irc.select` are made of.

subject, stored             a model of any kind: its graph, what its files take, a function that runs it
inputs, sizes               one sample for several models; sizes of symbolic dimensions
measures, quality           what it costs, counted and timed; what its outputs are worth
compare, comparison         several of them measured on the same data, and the table
budget, select, selection   what fits, what fits when compressed, and why the rest does not
"""
