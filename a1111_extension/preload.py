"""The extension's command-line flags."""

from __future__ import annotations

import argparse


def preload(parser: argparse.ArgumentParser) -> None:
    """Add the flags. The web UI calls this before it parses its command line.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The web UI's parser.
    """
    parser.add_argument(
        "--siren-coater-dir", type=str, default=None, help="folder with your Siren coater files"
    )
    parser.add_argument(
        "--siren-allow-folders",
        action="store_true",
        help="let Siren read folders on this machine by name, even if other people can reach the "
        "web UI (--listen, --share)",
    )
