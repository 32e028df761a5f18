"""The rules of `simplify`, by what they simplify.

Rule  ::= node -> Outcome
RULES ::= op class -> its rules, tried in order                        (one table a module)
"""
