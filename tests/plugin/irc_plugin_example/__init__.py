"""A third party's pass and target; `pyproject.toml` announces them to irc as entry points."""
