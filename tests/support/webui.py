"""Where the extension and its stand-in web UI are."""

from __future__ import annotations

from support.gradio_servers import ROOT

EXTENSION = ROOT / "a1111_extension"


WEBUI = ROOT / "tests" / "a1111_extension" / "webui"


SDNEXT = WEBUI.with_name("sdnext")
