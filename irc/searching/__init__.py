"""The search for the best compilation within a budget, over what the options of passes may be.

    irc.search(model, "fold-constants, simplify, prune-channels?{macs=0.2..1}, quantize{weight_bits=4|8}",
               budget={"bytes": 150000}, evaluate=top1, calibration=images, study="study")

    holes, space, text    what is left open in a pipeline; pipelines with holes, and their text
    trial                 one compilation, measured; what travels to the process that does it
    study, storage        a folder that remembers all trials, with Optuna; its file and lock
    materials, executors  the model, data and metric, where recipes can name them; where trials run
    question, loop        what is asked, and the search itself
    result, plot          what comes of it, as tables and files; its picture
"""

from irc.searching.holes import Choice, PerLayer, Range
from irc.searching.question import search, search_recipe
from irc.searching.result import SearchResult
from irc.searching.space import Maybe, Space
from irc.searching.trial import Trial

__all__ = ["Choice", "Maybe", "PerLayer", "Range", "SearchResult", "Space", "Trial", "search", "search_recipe"]
