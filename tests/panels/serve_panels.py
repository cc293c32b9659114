"""Serve the panels that take a key, with this Python's Gradio.

``serve_panels.py COATERS PORT``: coaters are offered from the folder COATERS, and folders of the
machine may be named, as on a host whose visitors own the machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gradio as gr

from siren_ext.panels.coat import coat_panel
from siren_ext.panels.host import CoaterLibrary, PanelHost, UploadLimits
from siren_ext.panels.verify import verify_panel

host = PanelHost(
    limits=UploadLimits(folders=True),
    coaters=CoaterLibrary(Path(sys.argv[1]), device="cpu"),
    alpha=1e-3,
)
with gr.Blocks() as page, gr.Tabs():
    with gr.Tab("Coat"):
        coat_panel(gr, host)
    with gr.Tab("Verify"):
        verify_panel(gr, host)
page.queue().launch(server_port=int(sys.argv[2]), quiet=True)
