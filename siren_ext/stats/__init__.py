"""Tests on scores and features: how surprising are they if the suspect never saw the coating?

``ks`` compares with a reference model, ``keyed`` with decoy messages, ``rank`` with innocent
models. ``sequential`` has the anytime-valid forms of the first two, ``power`` and ``keyed_power``
plan how many images they need, ``multiple`` corrects for several tests, and ``resample`` repeats
the KS test on random subsets, as the paper does.
"""
