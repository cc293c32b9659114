"""Call the page's three endpoints as a program would; prints the answers as JSON."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

from gradio_client import Client, handle_file

address, folder = sys.argv[1], Path(sys.argv[2])
files = [handle_file(str(path)) for path in sorted(folder.glob("*.png"))]
client = Client(address, verbose=False)
names = sorted(client.view_api(return_format="dict", print_info=False)["named_endpoints"])
archive, facts = client.predict(files[:2], None, 1, api_name="/coat")
scores = client.predict(files[:3], None, api_name="/score")
verdict, report = client.predict(files[:3], files[3:], None, 0.05, api_name="/verify")
try:
    client.predict([], None, api_name="/score")
    refused = ""
except Exception as error:
    refused = str(error)
with zipfile.ZipFile(archive) as opened:
    members = opened.namelist()
json.dump(
    {
        "names": names, "members": members, "facts": facts, "scores": scores,
        "verdict": verdict, "report": [Path(path).name for path in report], "refused": refused,
    },
    sys.stdout,
)  # fmt: skip
