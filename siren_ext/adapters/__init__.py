"""Adapters (LoRA and its relatives): read strictly, merged exactly, written in kohya's format.

If a suspicious adapter loaded without an error but did nothing, the test would wrongly clear it.
So every key of a file must be understood and every module found; otherwise an error lists them.
Reading gives one internal form, a :class:`~siren_ext.adapters.changes.Change` per module. Its
weight difference is merged with :func:`~siren_ext.adapters.merge.merge_adapter` and can be undone
bit for bit.
"""
