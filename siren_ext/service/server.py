"""Runs the HTTP service until it is stopped."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from siren_ext.errors import ConfigError, MissingExtraError
from siren_ext.files import locked
from siren_ext.service.config import ServeConfig
from siren_ext.service.pool import CoatingPool
from siren_ext.service.records import ServiceJournal
from siren_ext.service.tokens import Tokens, refuse_open_address
from siren_ext.service.upload import UploadCoater

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey

_LEFT = re.compile(r"[0-9a-f]{32}\.[a-z]+|\.part-.+")
_BACKLOG = 128


def serve(
    coater: Coater,
    journal: Path,
    config: ServeConfig | None = None,
    *,
    key: CoatingKey | None = None,
    tokens: Tokens | None = None,
    host: str = "127.0.0.1",
    port: int = 8765,
    stopped: Callable[[], bool] = lambda: False,
    started: Callable[[str], None] = lambda address: None,
) -> None:
    """Answer requests until the user stops the service.

    A stop closes the port at once; requests that were accepted are finished.

    Parameters
    ----------
    coater : Coater
        Adds the residual and scores.
    journal : Path
        File that gets a line for every image, see :mod:`siren_ext.service.records`.
    config : ServeConfig | None
        Limits, format and quality; None for the defaults.
    key : CoatingKey | None
        The key whose message a keyed coater writes.
    tokens : Tokens | None
        Who may use the service; without tokens every program of this machine.
    host : str
        Where to listen.
    port : int
        Port; 0 for a free one.
    stopped : Callable[[], bool]
        Whether the user wants to stop.
    started : Callable[[str], None]
        Called with the address once it can be reached.

    Raises
    ------
    ConfigError
        ``host`` is not of this machine alone and there is no token, or can't be listened on; or
        another service writes the journal.
    CoaterError
        The key does not fit the coater.
    DatasetError
        ``journal`` is another file.
    MissingExtraError
        The extra ``service`` is not installed.
    """
    _require_packages()
    config, tokens, journal = config or ServeConfig(), tokens or Tokens(), Path(journal)
    refuse_open_address(host, tokens)
    uploads = UploadCoater(coater, key, config.max_pixels)
    mark = "" if key is None else key.fingerprint()
    with locked(journal), _spool(journal) as spool, _listening(host, port) as listener:
        records = ServiceJournal(journal, coater.fingerprint, mark, config.strength)
        _one_core_each()
        pool = CoatingPool(uploads, records, config.workers, config.queue)
        try:
            _run(pool, config, tokens, spool, listener, stopped, started)
        finally:
            pool.close()


def _require_packages() -> None:
    for package in ("fastapi", "uvicorn", "prometheus_client"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(package.replace("_", "-"), "service") from error


def _one_core_each() -> None:
    """Let each worker use one core.

    Measured on two cores that other programs used too: an image of 256 pixels took 0.09 s by one
    thread, and 1.2 s by two, which wait for each other.
    """
    import torch

    torch.set_num_threads(1)


@contextmanager
def _spool(journal: Path) -> Iterator[Path]:
    """A folder beside the journal for uploads; what a killed service left is deleted."""
    folder = journal.parent / f".{journal.name[-180:]}.uploads"
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ConfigError(
            f"{folder} is not a folder, but the service needs a folder of this name; delete "
            "it or move the journal."
        )
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for left in folder.iterdir():
        if _LEFT.fullmatch(left.name):
            left.unlink()
    try:
        yield folder
    finally:
        with suppress(OSError):
            shutil.rmtree(folder)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
        try:
            if os.name != "nt":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"The service can't listen on {host}, port {port}: {why}. Choose another --host or "
            "--port."
        ) from error
    with listener:
        yield listener


def _run(
    pool: CoatingPool,
    config: ServeConfig,
    tokens: Tokens,
    spool: Path,
    listener: socket.socket,
    stopped: Callable[[], bool],
    started: Callable[[str], None],
) -> None:
    """Run uvicorn until the user stops it."""
    import uvicorn

    from siren_ext.service.app import Service
    from siren_ext.service.protocol import guarded_protocol

    class Server(uvicorn.Server):
        """Asks for the stop itself, instead of catching signals and raising them again."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started(_address(listener))

        async def on_tick(self, counter: int) -> bool:
            return await super().on_tick(counter) or stopped()

    longest = config.receive_seconds + config.wait_seconds + config.send_seconds
    settings = uvicorn.Config(
        Service(pool, config, tokens, spool).app(),
        http=guarded_protocol(config.head_seconds),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=config.connections,
        h11_max_incomplete_event_size=16 << 10,
        backlog=_BACKLOG,
        # no request takes longer, apart from the image that a worker has begun
        timeout_graceful_shutdown=int(longest) + 60,
    )
    Server(settings).run(sockets=[listener])


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
