"""Tests on scores and features: how surprising is this if the suspect never saw the coating?

``ks`` compares with a reference model, ``keyed`` with decoy messages, ``rank`` with innocent
models; ``sequential`` are their anytime-valid forms, ``power`` and ``keyed_power`` plan how many
images they need, ``multiple`` corrects for having asked several times.
"""
