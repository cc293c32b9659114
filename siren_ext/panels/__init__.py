"""The Gradio layout of every host, written once, and the headless steps behind it.

A host (the web UI extension, the Space) hands over its own ``gradio`` module and a
:class:`~siren_ext.panels.host.Desk` with its limits; gradio itself is never imported here, since
every host brings another version. Only what versions 3.41, 4.40 and 6 have in common is used; the
few differences live in :mod:`siren_ext.panels.gradio_compat`.
"""
