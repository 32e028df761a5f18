"""How `low-rank` factors a weight: which weights it can, at which ranks, and what stands in the graph then.

    sites       nodes  ->  Site, one a weight, with what it is as rows
    moments     what sites read in the samples  ->  second moments
    ranks       Site, tail of the spectrum  ->  Plan, with what it costs; the tail that a budget leaves
    factor      Plan  ->  nodes
"""
