"""Studies behind the project's figures: they call the public functions, and only choose arguments.

Each is a command, such as ``python -m siren_ext.experiments.detection --help``.
"""
