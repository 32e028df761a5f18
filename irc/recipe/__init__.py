"""Recipes: one file that says how a model is compiled, so that the result can be made again.

    recipe      the Recipe, and its compilation
    keys        TOML to a Recipe and back; what is wrong with a file
    limits      how large, fast and good an artifact is, against its budget
    threads     how many threads torch computes with, on which its last bits depend
"""

from irc.recipe.recipe import Recipe

__all__ = ["Recipe"]
