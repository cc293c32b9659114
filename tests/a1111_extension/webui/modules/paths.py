"""The web UI's folders."""

from __future__ import annotations

import os
import tempfile

data_path = os.environ.get("SIREN_TEST_DATA") or tempfile.mkdtemp(prefix="siren_webui_")
models_path = os.path.join(data_path, "models")  # noqa: PTH118 - text there, as in the web UI
