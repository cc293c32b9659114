"""Serve the page as ``app.py`` does, with a guided demo of few images and steps.

Needs the folder of ``app.py`` on Python's path.
"""

from __future__ import annotations

import app
from gradio import networking
from guided import Length

TINY = Length(
    images=3, training_steps=8, training_batch=2, suspect_images=4, sampling_steps=1,
)  # fmt: skip

# asks the page for itself, with little patience for a busy machine
networking.url_ok = lambda url: True
page = app.build(length=TINY).queue(default_concurrency_limit=1, max_size=app.QUEUE)
page.launch(max_file_size=f"{app.FILE_MB}mb", show_error=True)
