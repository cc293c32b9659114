"""The parts of the extension that work only inside the web UI."""
