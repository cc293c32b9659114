"""Adapters (LoRA and its kin): read strictly, merged exactly, written in kohya's format.

A suspicious adapter that loads without an error and does nothing would acquit its maker wrongly,
so every key of a file must be understood and every module found, or it is an error that lists
them. Reading gives one internal form, a :class:`Change` per module, whose weight difference is
merged (:func:`merge_adapter`) and can be taken out again bit for bit.
"""
