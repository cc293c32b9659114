"""A suspect model in the web UI of AUTOMATIC1111 or Forge (started with ``--api``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from torch import Tensor

from siren_ext.errors import ConfigError
from siren_ext.progress import NULL, Progress
from siren_ext.suspects.a1111_checkpoints import (
    checkpoints_of_answer,
    find_checkpoint,
    named_in_answer,
    said,
    title_parts,
)
from siren_ext.suspects.a1111_loras import find_lora, loras_of_answer, name_in_prompt
from siren_ext.suspects.address import Address
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.http import Client
from siren_ext.suspects.remote import RemoteSuspect, RequestLimits, persistently
from siren_ext.suspects.responses import (
    BadAnswer,
    SuspectError,
    at_path,
    decode_base64,
    decode_picture,
    encode_base64,
    parse_json,
    quoted,
)
from siren_ext.suspects.secret import Secret

SCHEME = "a1111"
OPTIONS = ("model", "lora", "scale", "auth")
PORT = 7860
MAX_BYTES = 96 << 20
_NETWORK = re.compile(r"<(lora|lyco|hypernet):", re.IGNORECASE)


def loads_network(prompt: str) -> bool:
    """Whether a prompt makes a web UI load a LoRA or hypernetwork, as ``<lora:name:1>`` does."""
    return _NETWORK.search(prompt) is not None


class A1111Suspect(RemoteSuspect):
    """Generates pictures with ``/sdapi/v1/txt2img``.

    If the web UI does not find the requested checkpoint, it uses its current one, and a LoRA that
    it does not find is left out. So both are looked up first, each answer must name the checkpoint
    and the seed that were used, and the first picture is compared with one made without the LoRA.
    The checkpoint stays selected in the web UI afterwards.

    Parameters
    ----------
    base : str
        ``http(s)://host:port``.
    model : str
        Title, name, file name or hash of a checkpoint, with or without folder and suffix; empty
        for the one in use.
    lora : str
        Name, alias or file name of a LoRA on the server, with or without folder and suffix; empty
        for none.
    scale : float
        Strength of the LoRA.
    secret : Secret | None
        ``user:password`` of ``--api-auth``.
    limits : RequestLimits | None
        Limits of time, attempts and cost.

    Raises
    ------
    ConfigError
        If the address or the LoRA's name is malformed, or a password would be sent unencrypted.
    """

    def __init__(
        self,
        base: str,
        *,
        model: str = "",
        lora: str = "",
        scale: float = 1.0,
        secret: Secret | None = None,
        limits: RequestLimits | None = None,
    ) -> None:
        super().__init__(limits or RequestLimits(), adapter=lora, scale=scale)
        if re.search(r"[<>]", lora):
            raise ConfigError(
                f"The LoRA's name is {str(lora)[:80]!r}; expected a name without < or >."
            )
        self.client = Client(base, timeout=self.limits.timeout, secret=secret)
        self.model = model

    @classmethod
    def from_address(
        cls, text: str, limits: RequestLimits | None = None, scale: float = 1.0
    ) -> A1111Suspect:
        """The suspect at an address.

        Parameters
        ----------
        text : str
            ``a1111://host:port?model=..&lora=..&scale=..&auth=..&tls=yes``, where ``auth`` is the
            name of the environment variable with ``user:password``.
        limits : RequestLimits | None
            Limits of time, attempts and cost.
        scale : float
            Strength of the LoRA if the address gives none.

        Raises
        ------
        ConfigError
            If the address is malformed or the environment variable is not set.
        """
        address = Address.read(text, SCHEME, OPTIONS, PORT)
        given = address.options
        secret = Secret.login_from_env(given["auth"]) if "auth" in given else None
        return cls(
            address.base,
            model=given.get("model", ""),
            lora=given.get("lora", ""),
            scale=address.number("scale", scale),
            secret=secret,
            limits=limits,
        )

    def checkpoints(self) -> list[dict[str, Any]]:
        """The server's checkpoints, with ``title``, ``model_name``, ``hash`` and ``sha256``."""
        return self._list("/sdapi/v1/sd-models", "title")

    def loras(self) -> list[dict[str, Any]]:
        """The server's LoRA files, with ``name``, ``alias`` and ``metadata``."""
        return self._list("/sdapi/v1/loras", "name")

    def describe(self) -> dict[str, Any]:
        """The record: kind, server, checkpoint with hash, LoRA with hash and strength."""
        adapter: dict[str, Any] | None = None
        if self.adapter:
            found = self._lora
            digest = at_path(found, "metadata.sshs_model_hash")
            adapter = {"file": str(found["name"]), "hash": digest if digest else None}
        return {
            "kind": SCHEME,
            "server": self.client.origin,
            "model": str(self._checkpoint["title"]),
            "model_hash": self._checkpoint.get("sha256") or self._checkpoint.get("hash"),
            "adapter": adapter,
            "scale": self.scale if self.adapter else None,
        }

    def check(self, plan: PromptPlan) -> None:
        """Refuse plans that the web UI cannot carry out.

        Raises
        ------
        ConfigError
            If the size is not a multiple of 8, or a prompt loads a LoRA or hypernetwork.
        """
        if plan.size % 8:
            raise ConfigError(
                f"PromptPlan.size is {plan.size}; expected a multiple of 8, or 0 for the web UI's "
                "own size."
            )
        if any(loads_network(prompt) for prompt in (*plan.prompts, plan.negative)):
            raise ConfigError(
                "A prompt contains <lora:...>, <lyco:...> or <hypernet:...>; remove it and put "
                "lora=... into the address."
            )

    def scrub(self, text: str) -> str:
        """The text with the password replaced by stars."""
        return self.client.scrub(text)

    def draw(self, plan: PromptPlan, index: int, scale: float, progress: Progress = NULL) -> Tensor:
        """One picture, after checking its seed, size and checkpoint; see the base class."""
        return self._made("txt2img", plan, index, scale, {})

    def redraw(
        self,
        image: Tensor,
        plan: PromptPlan,
        index: int,
        strength: float,
        progress: Progress = NULL,
    ) -> Tensor:
        """One picture made from another with ``/sdapi/v1/img2img``.

        Parameters
        ----------
        image : Tensor
            3 x H x W in [0,1]; the sides should be multiples of 8.
        plan : PromptPlan
            Gives prompt, seed and settings; its size is not used.
        index : int
            The number of the prompt and the seed in the plan.
        strength : float
            From 0 to 1, where nothing of the picture is kept.
        progress : Progress
            Decides about cancelling while waiting.

        Returns
        -------
        Tensor
            3 x H x W in [0,1], of the same size.

        Raises
        ------
        SuspectError
            If the web UI does not make it.
        AdapterError
            If the LoRA changes nothing.
        """
        self.trust_adapter(plan, index, progress)
        height, width = image.shape[1:]
        given = {
            "init_images": [encode_base64(image)],
            "denoising_strength": strength,
            "width": width,
            "height": height,
        }

        def once() -> Tensor:
            self._spend(progress)
            return self._made("img2img", plan, index, self.scale, given)

        return persistently(once, self.limits, progress)

    def _made(
        self, kind: str, plan: PromptPlan, index: int, scale: float, given: dict[str, Any]
    ) -> Tensor:
        """The picture that the web UI makes of a request."""
        seed, prompt = plan.seed + index, plan.prompt(index)
        with_lora = bool(self.adapter) and scale != 0
        if with_lora:
            name = name_in_prompt(self._listed_loras, self._lora, self.client.origin)
            prompt = f"{prompt} <lora:{name}:{scale:g}>"
        request: dict[str, Any] = {
            "prompt": prompt,
            "negative_prompt": plan.negative,
            "seed": seed,
            "steps": plan.steps,
            "cfg_scale": plan.guidance,
            "batch_size": 1,
            "n_iter": 1,
            "send_images": True,
            "save_images": False,
            "do_not_save_samples": True,
            "do_not_save_grid": True,
            "override_settings": {"sd_model_checkpoint": str(self._checkpoint["title"])},
            # restoring it would load two checkpoints per picture
            "override_settings_restore_afterwards": False,
        }
        if plan.size:
            request |= {"width": plan.size, "height": plan.size}
        request |= given
        if plan.sampler:
            request["sampler_name"] = plan.sampler
        answer = self.client.post(f"/sdapi/v1/{kind}", request, limit=MAX_BYTES).json()
        images, info = at_path(answer, "images"), at_path(answer, "info")
        if not isinstance(images, list) or not images or not isinstance(info, str):
            raise BadAnswer("The web UI's answer has no 'images' and 'info'.")
        facts = parse_json(info)
        self._check_facts(facts, seed, with_lora=with_lora)
        sides = request.get("width"), request.get("height")
        size = (sides[0], sides[1]) if sides[0] and sides[1] else _claimed_size(facts)
        return decode_picture(decode_base64(images[0]), size)

    def _check_facts(self, facts: Any, seed: int, *, with_lora: bool) -> None:
        """Refuse an answer that names another seed, checkpoint or LoRA than requested."""
        made_with = at_path(facts, "seed")
        if made_with != seed:
            raise BadAnswer(
                f"The picture was made with seed {quoted(made_with)}, but seed {seed} was "
                "requested."
            )
        self._check_checkpoint(facts)
        used = loras_of_answer(facts) if with_lora else None
        known = (
            {said(str(self._lora.get(key))) for key in ("name", "alias")} if with_lora else set()
        )
        if used is not None and not used & known:
            raise SuspectError(
                f"The web UI used the LoRA {quoted(', '.join(sorted(used)))} but not "
                f"{quoted(self.adapter)}."
            )

    def _check_checkpoint(self, facts: Any) -> None:
        """Refuse an answer that names another checkpoint than requested."""
        wanted = self._checkpoint
        digest, name = named_in_answer(facts)
        found = checkpoints_of_answer(self._listed, facts)
        if found is None:
            raise SuspectError(
                "The web UI does not say which checkpoint it used; update the web UI."
            )
        if len(found) > 1 and wanted in found and not digest:
            # Two files of one name in different folders. The web UI's setting is the one that was
            # requested, unless it did not find that one.
            chosen = self._chosen()
            found = [find_checkpoint(self._listed, chosen, self.client.origin)] if chosen else []
        asked = title_parts(self.model)[1]
        other = asked and digest and asked[:10] != digest[:10]
        if wanted not in found or other:
            raise SuspectError(
                f"The picture was made with the checkpoint {quoted(name or digest)}, but "
                f"{quoted(self.model if other else wanted['title'])} was requested. Select that "
                "checkpoint in the web UI to see why it fails."
            )

    def _chosen(self) -> str:
        """The checkpoint selected in the web UI, "" for none."""
        options = self.client.get("/sdapi/v1/options").json()
        return str(at_path(options, "sd_model_checkpoint") or "")

    @cached_property
    def _listed(self) -> list[dict[str, Any]]:
        return self.checkpoints()

    @cached_property
    def _checkpoint(self) -> Mapping[str, Any]:
        """The server's entry of the checkpoint."""
        return find_checkpoint(self._listed, self.model or self._chosen(), self.client.origin)

    @cached_property
    def _lora(self) -> Mapping[str, Any]:
        """The server's entry of the LoRA."""
        return find_lora(self._listed_loras, self.adapter, self.client.origin)

    @cached_property
    def _listed_loras(self) -> list[dict[str, Any]]:
        return self.loras()

    def _list(self, path: str, key: str) -> list[dict[str, Any]]:
        """A list of objects, each with a text under ``key``."""
        answer = self.client.get(path).json()
        if not isinstance(answer, list) or not all(
            isinstance(entry, dict) and isinstance(entry.get(key), str) for entry in answer
        ):
            raise SuspectError(
                f"{self.client.origin}{path} did not return a list; expected the API of the web "
                "UI. Start the web UI with --api."
            )
        return answer


def _claimed_size(facts: Any) -> tuple[int, int] | None:
    """Width and height that the answer claims."""
    sides = at_path(facts, "width"), at_path(facts, "height")
    if all(isinstance(side, int) and 0 < side <= 4096 for side in sides):
        return int(sides[0]), int(sides[1])
    return None
