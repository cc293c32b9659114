"""Serve a form whose job takes as long as a file exists: ``serve_form.py FILE PORT``.

The job's word is what the form's text field holds; the word "bad" is refused.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import gradio as gr

from siren_ext.errors import ConfigError
from siren_ext.panels import html as cards
from siren_ext.panels.host import StopRequests
from siren_ext.panels.widgets import connect, run_and_stop

HELD = Path(sys.argv[1])


def check(word: str) -> None:
    if word == "bad":
        raise ConfigError("This word is of no use. Choose another one.")


def work(word: str, job_id: str) -> str:
    Path(f"{HELD}.{word}").touch()
    while HELD.exists():
        time.sleep(0.1)
    return cards.note(f"{word}, as {bool(job_id)}", "Done")


with gr.Blocks() as page:
    field = gr.Textbox(elem_id="siren_form_word")
    buttons = run_and_stop(gr, "siren_form", "Run", StopRequests())
    card = gr.HTML(elem_id="siren_form_result")
    connect(gr, buttons, check, work, [field], [card])
page.queue().launch(server_port=int(sys.argv[2]), quiet=True)
