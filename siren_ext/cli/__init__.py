"""The ``siren-ext`` command: a thin shell over the public functions."""
