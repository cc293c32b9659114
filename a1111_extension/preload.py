"""Command-line flags of the extension."""

from __future__ import annotations

import argparse


def preload(parser: argparse.ArgumentParser) -> None:
    """Add the flags; the web UI calls this before it parses its command line."""
    parser.add_argument(
        "--siren-coater-dir", type=str, default=None, help="folder with your Siren coater files"
    )
    parser.add_argument(
        "--siren-allow-folders",
        action="store_true",
        help="let Siren read folders of this machine by name even when the web UI listens to "
        "others (--listen, --share)",
    )
