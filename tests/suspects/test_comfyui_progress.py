"""Messages of ComfyUI's websocket."""

from __future__ import annotations

import json
from typing import Any

from siren_ext.suspects.comfyui_progress import read_message


def test_messages_of_the_websocket() -> None:
    def message(kind: str, **data: Any) -> str:
        return json.dumps({"type": kind, "data": {"prompt_id": "j", **data}})

    assert read_message(message("progress", value=3, max=20), "j") == ("step 3 of 20", False)
    assert read_message(message("progress", value=3, max=20), "k") == ("", False)
    assert read_message(message("executing", node="5"), "j") == ("", False)
    assert read_message(message("executing", node=None), "j") == ("", True)
    assert read_message(message("execution_error"), "j") == ("", True)
    for odd in (b"\x00", "{", "[]", "null"):
        assert read_message(odd, "j") == ("", False)
