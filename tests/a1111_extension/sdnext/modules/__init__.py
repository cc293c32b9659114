"""SD.Next's modules where they differ; the others are those of ``webui``."""

from pathlib import Path

__path__.append(str(Path(__file__).resolve().parents[2] / "webui" / "modules"))
