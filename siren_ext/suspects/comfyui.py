"""A suspect behind a ComfyUI server, by a built-in or a given workflow."""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from torch import Tensor

from siren_ext.errors import ConfigError
from siren_ext.files import sha256_file
from siren_ext.progress import NULL, Progress
from siren_ext.suspects.address import Address
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.comfyui_progress import Listener
from siren_ext.suspects.comfyui_workflow import built_in, read_workflow
from siren_ext.suspects.http import Client, Secret
from siren_ext.suspects.remote import RemoteSuspect, RequestLimits, pause, persistently
from siren_ext.suspects.responses import (
    MAX_PICTURE_BYTES,
    BadAnswer,
    Refused,
    SuspectError,
    at_path,
    decode_picture,
    quoted,
)
from siren_ext.suspects.template import fill, places

SCHEME = "comfyui"
OPTIONS = ("model", "lora", "scale", "workflow", "image", "output", "auth")
PORT = 8188
SIZE = 512
_POLL = 0.5
_POLL_FIRST = 0.05
_ID = re.compile(r"[\w-]{1,80}")


class ComfyUISuspect(RemoteSuspect):
    """Pictures by ``/prompt``, ``/history`` and ``/view``.

    ComfyUI only logs it when a LoRA fits no part of the model; so the first picture is compared
    with one without it (in a workflow of your own: with ``%scale%`` 0).

    Parameters
    ----------
    base : str
        ``http(s)://host:port``.
    model : str
        file name of a checkpoint there; "" for the only one.
    lora : str
        file name of a LoRA there; "" none.
    scale : float
        its strength.
    workflow : Path | None
        a file for :func:`read_workflow`; None the built-in one.
    image : Path | None
        a picture to upload for ``%image%``.
    output : str
        id of the node whose picture counts; "" for the only one that gives a picture.
    secret : Secret | None
        ``user:password`` of a server behind HTTP Basic authentication.
    limits : RequestLimits | None
        how hard to ask.
    """

    def __init__(
        self,
        base: str,
        *,
        model: str = "",
        lora: str = "",
        scale: float = 1.0,
        workflow: Path | None = None,
        image: Path | None = None,
        output: str = "",
        secret: Secret | None = None,
        limits: RequestLimits | None = None,
    ) -> None:
        super().__init__(limits or RequestLimits(), adapter=lora, scale=scale)
        self.client = Client(base, timeout=self.limits.timeout, secret=secret)
        self.client_id = uuid.uuid4().hex
        self.output = output
        self.image = image
        self.graph = built_in(lora=bool(lora)) if workflow is None else read_workflow(workflow)
        self.places = places(self.graph)
        self.model = model
        for name, value in (("lora", lora), ("image", image), ("model", model)):
            if value and name not in self.places:
                raise ConfigError(f"{name}=... is given, but the workflow has no place %{name}%.")
        for name, value in (("lora", lora), ("image", image)):
            if not value and name in self.places:
                raise ConfigError(f"The workflow has the place %{name}%; give {name}=... too.")

    @classmethod
    def from_address(
        cls, text: str, limits: RequestLimits | None = None, scale: float = 1.0
    ) -> ComfyUISuspect:
        """From ``comfyui://host:port?workflow=..&model=..&lora=..``.

        Further options: ``scale``, ``image``, ``output``, ``auth`` (the environment variable that
        holds ``user:password``) and ``tls=yes``.
        """
        address = Address.read(text, SCHEME, OPTIONS, PORT)
        given = address.options
        return cls(
            address.base,
            model=given.get("model", ""),
            lora=given.get("lora", ""),
            scale=address.number("scale", scale),
            workflow=Path(given["workflow"]) if "workflow" in given else None,
            image=Path(given["image"]) if "image" in given else None,
            output=given.get("output", ""),
            secret=Secret.login_from_env(given["auth"]) if "auth" in given else None,
            limits=limits,
        )

    def files(self, kind: str) -> list[str]:
        """The files in a model folder there, such as ``checkpoints`` or ``loras``."""
        answer = self.client.get(f"/models/{quote(kind, safe='')}").json()
        if not isinstance(answer, list):
            raise SuspectError(f"{self.client.origin} gave no list of {kind}; is it ComfyUI?")
        return [str(name) for name in answer]

    def describe(self) -> dict[str, Any]:
        """Kind, server, model and LoRA with their hashes where stored, the workflow's hash."""
        canonical = json.dumps(self.graph, sort_keys=True).encode()
        adapter = None
        if self.adapter:
            name = self._found("loras", self.adapter)
            adapter = {"file": name, "hash": self._stored_hash("loras", name)}
        return {
            "kind": SCHEME,
            "server": self.client.origin,
            "model": self._model,
            "adapter": adapter,
            "scale": self.scale if self.adapter else None,
            "workflow": hashlib.sha256(canonical).hexdigest(),
            "uses": sorted(self.places),
            "image": sha256_file(self.image) if self.image is not None else None,
            "output": self.output,
        }

    def check(self, plan: PromptPlan) -> None:
        """Refuse settings for which the workflow has no place."""
        for name, usual in (("negative", ""), ("sampler", ""), ("size", 0)):
            if name not in self.places and getattr(plan, name) != usual:
                raise ConfigError(
                    f"The plan sets {name}, but the workflow has no place %{name}%; add it there "
                    "or leave it out of the plan."
                )
        if plan.size % 8:
            raise ConfigError(f"PromptPlan.size is {plan.size}; expected a multiple of 8, or 0.")

    def scrub(self, text: str) -> str:
        """``text`` without the password."""
        return self.client.scrub(text)

    def draw(self, plan: PromptPlan, index: int, scale: float, progress: Progress = NULL) -> Tensor:
        """Queue the workflow, wait for it, and fetch its picture."""
        size = plan.size or SIZE
        values: dict[str, Any] = {
            "prompt": plan.prompt(index),
            "negative": plan.negative,
            "seed": plan.seed + index,
            "steps": plan.steps,
            "guidance": plan.guidance,
            "size": size,
            "sampler": plan.sampler or "euler",
            "scale": scale,
        }
        if "model" in self.places:
            values["model"] = self._model
        if "lora" in self.places:
            values["lora"] = self._found("loras", self.adapter)
        if "image" in self.places:
            values["image"] = self._uploaded
        with Listener(self.client, self.client_id) as listener:
            job = self._queue(fill(self.graph, values))
            try:
                history = self._wait(job, listener, progress)
            except BaseException:
                self._drop(job)
                raise
        place = self._picture_of(history)
        data = persistently(
            lambda: self.client.get("/view", place, limit=MAX_PICTURE_BYTES).body,
            self.limits,
            progress,
        )
        return decode_picture(data, (size, size) if "size" in self.places else None)

    def upload(self, path: Path) -> str:
        """Send a picture to the server's input folder; gives the name that it has there."""
        boundary = uuid.uuid4().hex
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{path.name} can't be read: {error.strerror}.") from error
        name = f"siren_{hashlib.sha256(content).hexdigest()[:16]}{path.suffix.lower()}"
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        data = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        answer = self.client.send(
            "/upload/image", data, f"multipart/form-data; boundary={boundary}"
        ).json()
        stored, folder = at_path(answer, "name"), at_path(answer, "subfolder") or ""
        if not isinstance(stored, str):
            raise BadAnswer("The server did not say under which name it keeps the picture.")
        return f"{folder}/{stored}" if folder else stored

    def _queue(self, graph: dict[str, Any]) -> str:
        answer = self.client.post("/prompt", {"prompt": graph, "client_id": self.client_id}).json()
        errors, job = at_path(answer, "node_errors"), at_path(answer, "prompt_id")
        if errors:
            raise SuspectError(f"The server takes only a part of the workflow: {quoted(errors)}")
        if not isinstance(job, str) or not _ID.fullmatch(job):
            raise BadAnswer("The server gave no number for the queued workflow.")
        return job

    def _wait(self, job: str, listener: Listener, progress: Progress) -> Any:
        """The history entry of a finished job; failures of polls count as not yet finished."""
        end, failed, wait = time.monotonic() + self.limits.timeout, 0, _POLL_FIRST
        while time.monotonic() < end:
            try:
                entry = at_path(self.client.get(f"/history/{job}").json(), job)
                failed = 0
            except BadAnswer:
                failed += 1
                if failed >= self.limits.attempts:
                    raise
                entry = None
            if entry is not None:
                return entry
            if listener.connected:
                listener.wait(job, _POLL, progress)
            else:
                pause(wait, progress)
                wait = min(2 * wait, _POLL)
        raise BadAnswer(f"The picture was not finished within {self.limits.timeout:g} s.")

    def _drop(self, job: str) -> None:
        """Take a job that is no longer wanted out of the queue, or interrupt it, if possible."""
        try:
            self.client.post("/queue", {"delete": [job]})
            running = at_path(self.client.get("/queue").json(), "queue_running") or []
            # older servers interrupt whatever runs, so it must be this job
            if any(at_path(entry, "1") == job for entry in running):
                self.client.post("/interrupt", {"prompt_id": job})
        except SuspectError:
            return  # the server is in trouble already

    def _picture_of(self, entry: Any) -> dict[str, str]:
        """Where the picture of a finished job lies, as a query for ``/view``."""
        if at_path(entry, "status.status_str") != "success":
            raise _failure(entry)
        outputs = at_path(entry, "outputs")
        if not isinstance(outputs, dict):
            raise BadAnswer("The finished workflow has no outputs.")
        found = [
            image
            for node in ([self.output] if self.output else outputs)
            for image in at_path(outputs.get(node), "images") or []
            if isinstance(image, dict)
        ]
        if len(found) != 1:
            raise SuspectError(
                f"The workflow gave {len(found)} pictures; expected one. Name the node whose "
                "picture counts: output=ID, and draw one picture at a time."
            )
        place = {key: str(found[0].get(key, "")) for key in ("filename", "subfolder", "type")}
        if not place["filename"]:
            raise BadAnswer("The server did not say where the picture lies.")
        return place

    @cached_property
    def _uploaded(self) -> str:
        if self.image is None:
            raise ConfigError("The workflow has the place %image%; give image=... too.")
        return self.upload(self.image)

    @cached_property
    def _model(self) -> str | None:
        if "model" not in self.places:
            return None
        if self.model:
            return self._found("checkpoints", self.model)
        listed = self.files("checkpoints")
        if len(listed) != 1:
            raise ConfigError(
                f"{self.client.origin} has {len(listed)} checkpoints; name one as model=...: "
                f"{quoted(', '.join(listed)) or '(none there)'}"
            )
        return listed[0]

    def _found(self, kind: str, name: str) -> str:
        listed = self.files(kind)
        for candidate in listed:
            if name in (candidate, candidate.rpartition(".")[0]):
                return candidate
        raise ConfigError(
            f"{self.client.origin} has no {str(name)[:120]!r} among its {kind}: "
            f"{quoted(', '.join(listed)) or '(none there)'}."
        )

    def _stored_hash(self, kind: str, name: str) -> str | None:
        try:
            answer = self.client.get(f"/view_metadata/{kind}", {"filename": name}).json()
        except SuspectError:
            return None  # not a safetensors file, or one without metadata
        digest = at_path(answer, "sshs_model_hash")
        return digest if isinstance(digest, str) else None


def _failure(entry: Any) -> SuspectError:
    """What a failed job died of; being short of memory may pass."""
    for message in at_path(entry, "status.messages") or []:
        if at_path(message, "0") == "execution_error":
            facts = at_path(message, "1")
            what = f"{at_path(facts, 'node_type')}: {at_path(facts, 'exception_message')}"
            if "OutOfMemory" in str(at_path(facts, "exception_type")):
                return BadAnswer(f"The server ran out of memory in {quoted(what)}")
            return Refused(f"The workflow failed in {quoted(what)}")
        if at_path(message, "0") == "execution_interrupted":
            return BadAnswer("Somebody interrupted the workflow on the server.")
    return Refused("The workflow failed without a reason.")
