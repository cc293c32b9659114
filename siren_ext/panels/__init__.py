"""The Gradio panels of every host, written once, and the steps behind them without a layout.

A host (the web UI extension, the Space) passes in its own ``gradio`` module and a
:class:`~siren_ext.panels.host.PanelHost` with its limits. Gradio is never imported here, because
every host brings another version. The panels use only what versions 3.41, 4.40 and 6 have in
common; the few differences are handled in :mod:`siren_ext.panels.gradio_compat`.
"""
