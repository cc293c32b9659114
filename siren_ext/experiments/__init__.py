"""Studies behind the project's figures; they only choose arguments of the public functions.

Each is a command, such as ``python -m siren_ext.experiments.detection --help``.
"""
