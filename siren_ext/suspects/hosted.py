"""A suspect behind a REST API that makes predictions; a TOML file describes the API."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urljoin

from msgspec import Meta
from torch import Tensor

from siren_ext.config import Config
from siren_ext.documents import read_toml
from siren_ext.errors import ConfigError
from siren_ext.progress import NULL, Progress
from siren_ext.suspects.address import split_address
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.http import Client
from siren_ext.suspects.remote import RemoteSuspect, RequestLimits, pause, persistently
from siren_ext.suspects.responses import (
    MAX_PICTURE_BYTES,
    BadAnswer,
    Refused,
    SuspectError,
    at_path,
    decode_base64,
    decode_picture,
    quoted,
)
from siren_ext.suspects.secret import Secret
from siren_ext.suspects.template import fill, placeholders, read_template
from siren_ext.suspects.trust import Trust

KIND = "hosted"
MAX_BYTES = 96 << 20
MAX_FILE_BYTES = 1 << 20
_ID = re.compile(r"[\w.:-]{1,200}")
_PLAN = ("prompt", "negative", "seed", "steps", "guidance", "size", "sampler")


@dataclass(frozen=True)
class HostedConfig(Config):
    """Description of an API, in the terms of its own documentation.

    Attributes
    ----------
    url : str
        ``https://host[/prefix]``.
    create : str
        Path to which ``body`` is posted.
    body : str
        JSON with the placeholders %prompt%, %seed%, %negative%, %steps%, %guidance%, %size% and
        %sampler%. A text that consists of one placeholder becomes a value of its own type.
    image : str
        Dotted path to the picture in the finished answer: an address, a data: address or base64.
    poll : str
        Path that is polled until the picture is finished, with ``%id%``; empty if the first answer
        is the finished one.
    id : str
        Dotted path in the first answer to the value of ``%id%``.
    status : str
        Dotted path to the state.
    done, waiting, failed : tuple[str, ...]
        The possible values of the state.
    error : str
        Dotted path to the reason of a failure.
    interval : float
        Seconds between two polls, from 0.01 to 600.
    token_env : str
        Name of the environment variable with the token; empty for none. See
        :class:`~siren_ext.suspects.trust.Trust` for the names that a file may use.
    token_header, token_form : str
        Name of the header, and its value with ``{token}``.
    download_hosts : tuple[str, ...]
        Hosts, other than that of ``url``, from which a picture may be fetched.
    model : str
        The model's name, for the record.
    price : float
        Cost of one request, used if the limits give none.
    """

    url: str
    create: str
    body: str
    image: str
    poll: str = ""
    id: str = "id"
    status: str = "status"
    done: tuple[str, ...] = ("succeeded",)
    waiting: tuple[str, ...] = ("starting", "queued", "processing")
    failed: tuple[str, ...] = ("failed", "canceled")
    error: str = "error"
    interval: Annotated[float, Meta(ge=0.01, le=600)] = 1.0
    token_env: str = ""
    token_header: str = "Authorization"
    token_form: str = "Bearer {token}"
    download_hosts: tuple[str, ...] = ()
    model: str = ""
    price: Annotated[float, Meta(ge=0, le=1e9)] = 0.0

    def __post_init__(self) -> None:
        """Also check the placeholders."""
        super().__post_init__()
        if self.poll and "%id%" not in self.poll:
            raise ConfigError(f"HostedConfig.poll is {self.poll!r}; expected a path with %id%.")
        if "prompt" not in placeholders(read_template(self.body, "HostedConfig.body")):
            raise ConfigError(
                "HostedConfig.body has no placeholder %prompt%; write it where the prompt belongs."
            )

    @classmethod
    def read(cls, path: Path) -> HostedConfig:
        """Read a description from a TOML file of at most 1 MiB.

        Raises
        ------
        ConfigError
            If the file is unreadable, or a setting is unknown, missing or malformed.
        """
        values = read_toml(path, error=ConfigError, max_bytes=MAX_FILE_BYTES, name=path.name)
        return cls.from_dict(values)


class HostedSuspect(RemoteSuspect):
    """Generates pictures with the API that a configuration describes.

    Parameters
    ----------
    config : HostedConfig
        The description of the API.
    limits : RequestLimits | None
        Limits of time, attempts and cost.
    trust : Trust | None
        The hosts and variables that the description may use; None for no host, and for variables
        with the prefix SIREN_.

    Raises
    ------
    ConfigError
        If a placeholder is not supported, a host or variable is not trusted, the token is not in
        the environment, or it would be sent unencrypted.
    """

    def __init__(
        self,
        config: HostedConfig,
        limits: RequestLimits | None = None,
        trust: Trust | None = None,
    ) -> None:
        limits, trust = limits or RequestLimits(), trust or Trust()
        trust.check_variable(config.token_env)
        super().__init__(replace(limits, price=limits.price or config.price))
        self.config = config
        token = (config.token_env, config.token_header, config.token_form)
        secret = Secret.from_env(*token) if config.token_env else None
        self.client = Client(config.url, timeout=limits.timeout, secret=secret)
        self.body = read_template(config.body, "body")
        self.placeholders = placeholders(self.body)
        unfit = self.placeholders - set(_PLAN)
        if unfit:
            raise ConfigError(
                f"HostedConfig.body has the placeholder %{min(unfit)}%, which is not supported "
                f"here; expected {', '.join(f'%{name}%' for name in _PLAN)}."
            )
        trust.check_hosts(
            self.client.origin, self.client.host, config.download_hosts, config.token_env
        )

    def describe(self) -> dict[str, Any]:
        """The record: kind, server, model and the template of the request, without the token."""
        return {
            "kind": KIND,
            "server": self.client.origin,
            "model": self.config.model,
            "path": self.config.create,
            "body": self.body,
            "uses": sorted(self.placeholders),
        }

    def check(self, plan: PromptPlan) -> None:
        """Refuse settings that the template does not use.

        Raises
        ------
        ConfigError
            If there are any, or the template uses ``%size%`` and the plan sets none.
        """
        for name, usual in (("negative", ""), ("sampler", ""), ("size", 0)):
            if name not in self.placeholders and getattr(plan, name) != usual:
                raise ConfigError(
                    f"The plan sets {name}, but the template has no %{name}%; add it there, or "
                    f"leave {name} out of the plan."
                )
        if "size" in self.placeholders and not plan.size:
            raise ConfigError("The template uses %size%; set the plan's size, such as 512.")

    def seed(self, plan: PromptPlan, index: int) -> int:
        """The seed that was sent, or -1 if the API takes none."""
        return plan.seed + index if "seed" in self.placeholders else -1

    def scrub(self, text: str) -> str:
        """The text with the token replaced by stars."""
        return self.client.scrub(text)

    def draw(self, plan: PromptPlan, index: int, scale: float, progress: Progress = NULL) -> Tensor:
        """Create a prediction, wait for it and fetch its picture; see the base class."""
        values = {name: getattr(plan, name) for name in _PLAN if name != "prompt"}
        values |= {"prompt": plan.prompt(index), "seed": plan.seed + index}
        config = self.config
        answer = self.client.post(config.create, fill(self.body, values), limit=MAX_BYTES).json()
        if config.poll:
            answer = self._finished(answer, progress)
        data = persistently(lambda: self._picture(answer), self.limits, progress)
        size = (plan.size, plan.size) if plan.size and "size" in self.placeholders else None
        return decode_picture(data, size)

    def _finished(self, answer: Any, progress: Progress) -> Any:
        """Poll until the prediction is finished; returns the last answer."""
        config = self.config
        number = str(at_path(answer, config.id))
        if not _ID.fullmatch(number) or not number.strip("."):
            raise BadAnswer(f"The answer's {config.id} is {quoted(number)}; expected an id.")
        path = config.poll.replace("%id%", quote(number, safe=""))
        end, failed = time.monotonic() + self.limits.timeout, 0
        while True:
            state = at_path(answer, config.status)
            if state in config.done:
                return answer
            if state in config.failed:
                why = quoted(self.scrub(str(at_path(answer, config.error))))
                raise Refused(f"The API made no picture ({quoted(state)}): {why}")
            if state not in config.waiting:
                raise SuspectError(
                    f"The state is {quoted(state)}; expected one of "
                    f"{', '.join((*config.done, *config.waiting, *config.failed))}. Add it to "
                    "done, waiting or failed in the TOML file."
                )
            if time.monotonic() + config.interval > end:
                raise BadAnswer(f"The picture was not finished within {self.limits.timeout:g} s.")
            pause(config.interval, progress, note=quoted(state))
            try:
                answer, failed = self.client.get(path, limit=MAX_BYTES).json(), 0
            except BadAnswer:
                failed += 1
                if failed >= self.limits.attempts:
                    raise

    def _picture(self, answer: Any) -> bytes:
        """The bytes of the picture that a finished answer contains or links to."""
        where = at_path(answer, self.config.image)
        if not isinstance(where, str) or not where:
            raise BadAnswer(
                f"The answer has {quoted(where)} at {self.config.image}; expected an address or "
                "base64 text. Check the setting image."
            )
        if not where.startswith(("http:", "https:", "/")) or where.startswith("/9j/"):
            return decode_base64(where)  # /9j/ is how a JPEG begins in base64
        parts = split_address(urljoin(f"{self.client.origin}/", where), SuspectError)
        base = f"{parts.scheme}://{parts.netloc}"
        there = Client(base, timeout=self.limits.timeout)
        if there.origin == self.client.origin:
            there = Client(base, timeout=self.limits.timeout, secret=self.client.secret)
        elif there.host not in self.config.download_hosts:
            raise SuspectError(
                f"The picture is on {there.origin}, which is not allowed; if you trust it, add "
                f'"{there.host}" to download_hosts in the TOML file.'
            )
        elif self.client.scheme == "https" and there.scheme != "https":
            raise SuspectError(f"The picture is on {there.origin}, which is not https.")
        query = f"?{parts.query}" if parts.query else ""
        return there.fetch((parts.path or "/") + query, limit=MAX_PICTURE_BYTES).body
