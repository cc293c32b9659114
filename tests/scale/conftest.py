"""A folder of pictures, the file of a small coater, and a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from support.noise_files import noise

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig

SHAPE = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=16
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for index in range(12):
        noise(folder / f"{index}.png", size=(12 + 4 * (index % 2), 10))
        (folder / f"{index}.txt").write_text(f"caption {index}")
    return folder


@pytest.fixture
def coater_file(tmp_path: Path) -> Path:
    path = tmp_path / "coater.safetensors"
    Coater(SHAPE, seed=1).save(path)
    return path


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of a local server."""
    pytest.importorskip("s3fs", reason="needs the extra 'cluster'")
    server = pytest.importorskip("moto.server", reason="needs moto[server]")
    import s3fs

    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    _, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    forget = Request(f"http://127.0.0.1:{port}/moto-api/reset", method="POST")
    urlopen(forget).close()  # what other tests of this process left
    s3fs.S3FileSystem().mkdir("bucket")
    yield "s3://bucket"
    s3fs.S3FileSystem.clear_instance_cache()
    running.stop()
