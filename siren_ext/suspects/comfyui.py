"""A suspect model on a ComfyUI server, run with the built-in workflow or the user's own."""

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
from siren_ext.suspects.comfyui_upload import upload, upload_file
from siren_ext.suspects.comfyui_workflow import built_in, failure, image_to_image, read_workflow
from siren_ext.suspects.http import Client
from siren_ext.suspects.named_files import best_fits, names_of_file
from siren_ext.suspects.remote import RemoteSuspect, RequestLimits, pause, persistently
from siren_ext.suspects.responses import (
    MAX_PICTURE_BYTES,
    BadAnswer,
    SuspectError,
    at_path,
    decode_picture,
    list_at,
    png_bytes,
    quoted,
)
from siren_ext.suspects.secret import Secret
from siren_ext.suspects.template import fill, placeholders

SCHEME = "comfyui"
OPTIONS = ("model", "lora", "scale", "workflow", "image", "output", "auth")
PORT = 8188
SIZE = 512
_POLL = 0.5
_POLL_FIRST = 0.05
_ID = re.compile(r"[\w-]{1,80}")


class ComfyUISuspect(RemoteSuspect):
    """Generates pictures with ``/prompt``, ``/history`` and ``/view``.

    If a LoRA does not fit the model, ComfyUI only writes it to its log. So the first picture is
    compared with one made without the LoRA (in your own workflow: with ``%scale%`` 0).

    Parameters
    ----------
    base : str
        ``http(s)://host:port``.
    model : str
        File name of a checkpoint on the server, with or without folder and suffix; empty if there
        is only one.
    lora : str
        File name of a LoRA on the server, in the same way; empty for none.
    scale : float
        Strength of the LoRA.
    workflow : Path | None
        A file for :func:`~siren_ext.suspects.comfyui_workflow.read_workflow`; None uses the
        built-in workflow.
    image : Path | None
        A picture to upload for ``%image%``.
    output : str
        Id of the node whose picture is taken; empty if only one gives a picture.
    secret : Secret | None
        ``user:password`` of a server with HTTP Basic authentication.
    limits : RequestLimits | None
        Limits of time, attempts and cost.

    Raises
    ------
    ConfigError
        If the address or the workflow is malformed, or the arguments do not suit the workflow.
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
        self.own = workflow is not None
        self.graph = built_in(lora=bool(lora)) if workflow is None else read_workflow(workflow)
        self.placeholders = placeholders(self.graph)
        self.model = model
        for name, value in (("lora", lora), ("image", image), ("model", model)):
            if value and name not in self.placeholders:
                raise ConfigError(
                    f"{name}=... is given, but the workflow has no placeholder %{name}%; add it "
                    f"there, or leave {name} out."
                )
        for name, value in (("lora", lora), ("image", image)):
            if not value and name in self.placeholders:
                raise ConfigError(f"The workflow uses %{name}%; give {name}=... too.")

    @classmethod
    def from_address(
        cls, text: str, limits: RequestLimits | None = None, scale: float = 1.0
    ) -> ComfyUISuspect:
        """The suspect at an address.

        Parameters
        ----------
        text : str
            ``comfyui://host:port?workflow=..&model=..&lora=..``; also ``scale``, ``image``,
            ``output``, ``auth`` (name of the environment variable with ``user:password``) and
            ``tls=yes``.
        limits : RequestLimits | None
            Limits of time, attempts and cost.
        scale : float
            Strength of the LoRA if the address gives none.

        Raises
        ------
        ConfigError
            As in the constructor, or if the environment variable is not set.
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
        """The files in a model folder of the server, such as ``checkpoints`` or ``loras``.

        Raises
        ------
        SuspectError
            If the server does not answer as ComfyUI does.
        """
        answer = self.client.get(f"/models/{quote(kind, safe='')}").json()
        if not isinstance(answer, list):
            raise SuspectError(
                f"{self.client.origin} did not return a list of {kind}; expected a ComfyUI server."
            )
        return [str(name) for name in answer]

    def describe(self) -> dict[str, Any]:
        """The record: kind, server, model, LoRA with its stored hash, the workflow's hash."""
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
            "uses": sorted(self.placeholders),
            "image": sha256_file(self.image) if self.image is not None else None,
            "output": self.output,
        }

    def check(self, plan: PromptPlan) -> None:
        """Refuse settings that the workflow does not use.

        Raises
        ------
        ConfigError
            If there are any, or the size is not a multiple of 8.
        """
        for name, usual in (("negative", ""), ("sampler", ""), ("size", 0)):
            if name not in self.placeholders and getattr(plan, name) != usual:
                raise ConfigError(
                    f"The plan sets {name}, but the workflow has no placeholder %{name}%; add it "
                    f"there, or leave {name} out of the plan."
                )
        if plan.size % 8:
            raise ConfigError(f"PromptPlan.size is {plan.size}; expected a multiple of 8, or 0.")

    def scrub(self, text: str) -> str:
        """The text with the password replaced by stars."""
        return self.client.scrub(text)

    def draw(self, plan: PromptPlan, index: int, scale: float, progress: Progress = NULL) -> Tensor:
        """Queue the workflow, wait for it and fetch its picture; see the base class."""
        size = plan.size or SIZE
        values = self._values(plan, index, scale) | {"size": size}
        if "image" in self.placeholders:
            values["image"] = self._uploaded
        sides = (size, size) if "size" in self.placeholders else None
        return self._run(self.graph, values, sides, progress)

    def redraw(
        self,
        image: Tensor,
        plan: PromptPlan,
        index: int,
        strength: float,
        progress: Progress = NULL,
    ) -> Tensor:
        """One picture made from another, with the built-in workflow for that.

        The picture stays in the server's input folder. Arguments, result and errors are those of
        :meth:`siren_ext.suspects.a1111.A1111Suspect.redraw`.
        """
        self.trust_adapter(plan, index, progress)
        sides = image.shape[2], image.shape[1]

        def once() -> Tensor:
            self._spend(progress)
            name = upload(self.client, png_bytes(image), ".png")
            given = {"image": name, "strength": strength}
            values = self._values(plan, index, self.scale) | given
            return self._run(image_to_image(lora=bool(self.adapter)), values, sides, progress)

        return persistently(once, self.limits, progress)

    def _values(self, plan: PromptPlan, index: int, scale: float) -> dict[str, Any]:
        """What takes the place of placeholders, without size and picture."""
        values: dict[str, Any] = {
            "prompt": plan.prompt(index),
            "negative": plan.negative,
            "seed": plan.seed + index,
            "steps": plan.steps,
            "guidance": plan.guidance,
            "sampler": plan.sampler or "euler",
            "scale": scale,
        }
        if "model" in self.placeholders:
            values["model"] = self._model
        if "lora" in self.placeholders:
            values["lora"] = self._found("loras", self.adapter)
        return values

    def _run(
        self,
        graph: dict[str, Any],
        values: dict[str, Any],
        sides: tuple[int, int] | None,
        progress: Progress,
    ) -> Tensor:
        """The picture of a workflow, whose width and height must be these."""
        with Listener(self.client, self.client_id) as listener:
            job = self._queue(fill(graph, values))
            try:
                history = self._wait(job, listener, progress)
            except BaseException:
                self._drop(job)
                raise
        file = self._picture_of(history)
        data = persistently(
            lambda: self.client.get("/view", file, limit=MAX_PICTURE_BYTES).body,
            self.limits,
            progress,
        )
        return decode_picture(data, sides)

    def _queue(self, graph: dict[str, Any]) -> str:
        """Queue a workflow; returns the job's id."""
        answer = self.client.post("/prompt", {"prompt": graph, "client_id": self.client_id}).json()
        errors, job = at_path(answer, "node_errors"), at_path(answer, "prompt_id")
        if errors:
            raise SuspectError(f"The server rejects parts of the workflow: {quoted(errors)}")
        if not isinstance(job, str) or not _ID.fullmatch(job):
            raise BadAnswer("The server gave no id for the queued workflow.")
        return job

    def _wait(self, job: str, listener: Listener, progress: Progress) -> Any:
        """The history entry of a job once it is finished; single failed polls are ignored."""
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
        """Remove a job that is no longer wanted from the queue, or interrupt it, if possible."""
        try:
            self.client.post("/queue", {"delete": [job]})
            running = list_at(self.client.get("/queue").json(), "queue_running")
            # older servers interrupt any running job, so check that it is this one
            if any(at_path(entry, "1") == job for entry in running):
                self.client.post("/interrupt", {"prompt_id": job})
        except SuspectError:
            return  # the original error matters more

    def _picture_of(self, entry: Any) -> dict[str, str]:
        """The picture file of a finished job, as a query for ``/view``."""
        if at_path(entry, "status.status_str") != "success":
            raise failure(entry)
        outputs = at_path(entry, "outputs")
        if not isinstance(outputs, dict):
            raise BadAnswer("The finished workflow has no outputs.")
        found = [
            image
            for node in ([self.output] if self.output else outputs)
            for image in list_at(outputs.get(node), "images")
            if isinstance(image, dict)
        ]
        if len(found) != 1:
            raise SuspectError(
                f"The workflow gave {len(found)} pictures; expected one. Choose the node to take "
                "the picture from with output=ID, and use a batch size of 1."
            )
        file = {key: str(found[0].get(key, "")) for key in ("filename", "subfolder", "type")}
        if not file["filename"]:
            raise BadAnswer("The server did not give the name of the picture's file.")
        return file

    @cached_property
    def _uploaded(self) -> str:
        """The server's name of the uploaded picture."""
        if self.image is None:
            raise ConfigError("The workflow uses %image%; give image=... too.")
        return upload_file(self.client, self.image)

    @cached_property
    def _model(self) -> str | None:
        """The server's name of the checkpoint."""
        if "model" not in self.placeholders:
            return None
        if self.model:
            return self._found("checkpoints", self.model)
        listed = self.files("checkpoints")
        if len(listed) != 1:
            raise ConfigError(
                f"{self.client.origin} has {len(listed)} checkpoints; choose one with model=...: "
                f"{quoted(', '.join(listed)) or '(none found)'}"
            )
        return listed[0]

    def _found(self, kind: str, name: str) -> str:
        """The server's name of a file that may be given without folder and suffix."""
        listed = self.files(kind)
        found = best_fits(listed, name, names_of_file)
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(
                f"{self.client.origin} has {len(found)} files {str(name)[:120]!r} among its {kind}:"
                f" {quoted(', '.join(found))}. Give one of these names."
            )
        raise ConfigError(
            f"{self.client.origin} has no {str(name)[:120]!r} among its {kind}: "
            f"{quoted(', '.join(listed)) or '(none found)'}."
        )

    def _stored_hash(self, kind: str, name: str) -> str | None:
        """kohya's hash in the metadata of a file on the server."""
        try:
            answer = self.client.get(f"/view_metadata/{kind}", {"filename": name}).json()
        except SuspectError:
            return None  # not a safetensors file, or one without metadata
        digest = at_path(answer, "sshs_model_hash")
        return digest if isinstance(digest, str) else None
