"""A suspect behind the web UI of AUTOMATIC1111 or Forge (started with ``--api``)."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from torch import Tensor

from siren_ext.errors import ConfigError
from siren_ext.progress import NULL, Progress
from siren_ext.suspects.address import Address
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.http import Client, Secret
from siren_ext.suspects.remote import RemoteSuspect, RequestLimits
from siren_ext.suspects.responses import (
    BadAnswer,
    SuspectError,
    at_path,
    decode_base64,
    decode_picture,
    parse_json,
    quoted,
)
from siren_ext.text import printable

SCHEME = "a1111"
OPTIONS = ("model", "lora", "scale", "auth")
PORT = 7860
MAX_BYTES = 96 << 20
_LORA_HASHES = re.compile(r'Lora hashes: "([^"]*)"')


class A1111Suspect(RemoteSuspect):
    """Pictures by ``/sdapi/v1/txt2img``.

    The web UI answers with its current checkpoint when it does not find the one that is asked for,
    and leaves out a LoRA that it does not find. So both are looked up first, each answer has to
    name the checkpoint and the seed that it was made with, and the first picture is compared with
    one without the LoRA. The checkpoint stays selected in the web UI afterwards.

    Parameters
    ----------
    base : str
        ``http(s)://host:port``.
    model : str
        title, name or file name of a checkpoint; "" the one in use.
    lora : str
        name or alias of a LoRA file there, without suffix; "" none.
    scale : float
        strength of the LoRA.
    secret : Secret | None
        ``user:password`` of ``--api-auth``.
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
        secret: Secret | None = None,
        limits: RequestLimits | None = None,
    ) -> None:
        super().__init__(limits or RequestLimits(), adapter=lora, scale=scale)
        if re.search(r"[<>:]", lora):
            raise ConfigError(
                f"The LoRA's name is {str(lora)[:80]!r}; expected one without < > and :."
            )
        self.client = Client(base, timeout=self.limits.timeout, secret=secret)
        self.model = model

    @classmethod
    def from_address(
        cls, text: str, limits: RequestLimits | None = None, scale: float = 1.0
    ) -> A1111Suspect:
        """From ``a1111://host:port?model=..&lora=..&scale=..&auth=..&tls=yes``.

        ``auth`` names the environment variable that holds ``user:password``.
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
        """The checkpoints there: ``title``, ``model_name``, ``hash``, ``sha256``."""
        return self._list("/sdapi/v1/sd-models", "title")

    def loras(self) -> list[dict[str, Any]]:
        """The LoRA files there: ``name``, ``alias``, ``metadata``."""
        return self._list("/sdapi/v1/loras", "name")

    def describe(self) -> dict[str, Any]:
        """Kind, server, checkpoint with hash, LoRA with hash and strength."""
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
        """Refuse sizes that the web UI can't make."""
        if plan.size % 8:
            raise ConfigError(
                f"PromptPlan.size is {plan.size}; expected a multiple of 8, or 0 for the web UI's "
                "own."
            )
        if any("<lora:" in prompt for prompt in (*plan.prompts, plan.negative)):
            raise ConfigError("A prompt contains <lora:...>; give it as lora=... in the address.")

    def scrub(self, text: str) -> str:
        """``text`` without the password."""
        return self.client.scrub(text)

    def draw(self, plan: PromptPlan, index: int, scale: float, progress: Progress = NULL) -> Tensor:
        """One picture, checked to be of the seed, size and checkpoint that were asked for."""
        seed, prompt = plan.seed + index, plan.prompt(index)
        with_lora = bool(self.adapter) and scale != 0
        if with_lora:
            prompt = f"{prompt} <lora:{self._lora['name']}:{scale:g}>"
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
            # going back after each picture would load two checkpoints per picture
            "override_settings_restore_afterwards": False,
        }
        if plan.size:
            request |= {"width": plan.size, "height": plan.size}
        if plan.sampler:
            request["sampler_name"] = plan.sampler
        answer = self.client.post("/sdapi/v1/txt2img", request, limit=MAX_BYTES).json()
        images, info = at_path(answer, "images"), at_path(answer, "info")
        if not isinstance(images, list) or not images or not isinstance(info, str):
            raise BadAnswer("The web UI's answer has no 'images' and 'info'.")
        facts = parse_json(info)
        self._check_facts(facts, seed, with_lora=with_lora)
        size = (plan.size, plan.size) if plan.size else _claimed_size(facts)
        return decode_picture(decode_base64(images[0]), size)

    def _check_facts(self, facts: Any, seed: int, *, with_lora: bool) -> None:
        """What the answer says of its making has to be what was asked for."""
        made_with = at_path(facts, "seed")
        if made_with != seed:
            raise BadAnswer(
                f"The picture was made from seed {quoted(made_with)}; asked for was {seed}."
            )
        wanted = self._checkpoint
        digest, name = at_path(facts, "sd_model_hash"), at_path(facts, "sd_model_name")
        if digest and wanted.get("hash"):
            fits = str(digest)[:10] == str(wanted["hash"])[:10]
        elif name and wanted.get("model_name"):
            fits = name == wanted["model_name"]
        else:
            raise SuspectError("The web UI does not say which checkpoint it used; update it.")
        if not fits:
            raise SuspectError(
                f"The picture was made by checkpoint {quoted(name or digest)}; asked for was "
                f"{quoted(wanted['title'])}. Load that one in the web UI and see why it fails."
            )
        told = _LORA_HASHES.search(str(at_path(facts, "infotexts.0") or ""))
        names = {part.partition(":")[0].strip() for part in told[1].split(",")} if told else set()
        known = {str(self._lora.get(key)) for key in ("name", "alias")} if with_lora else set()
        if told and with_lora and not names & known:
            raise SuspectError(
                f"The web UI used the LoRA {quoted(', '.join(sorted(names)))} but not "
                f"{quoted(self.adapter)}."
            )

    @cached_property
    def _checkpoint(self) -> dict[str, Any]:
        wanted = self.model
        if not wanted:
            options = self.client.get("/sdapi/v1/options").json()
            wanted = str(at_path(options, "sd_model_checkpoint") or "")
        keys = ("title", "model_name", "hash", "sha256")
        listed = self.checkpoints()
        for entry in listed:
            stem = re.sub(r" \[[0-9a-f]+\]$", "", str(entry["title"]))
            if wanted and wanted in {stem, *(str(entry.get(key)) for key in keys)}:
                return entry
        raise ConfigError(
            f"{self.client.origin} has no checkpoint {str(wanted)[:120]!r}; it has "
            f"{_names(listed, 'title')}. Give one as model=..."
        )

    @cached_property
    def _lora(self) -> dict[str, Any]:
        listed = self.loras()
        for key in ("name", "alias"):
            for entry in listed:
                if entry.get(key) == self.adapter:
                    return entry
        raise ConfigError(
            f"{self.client.origin} has no LoRA {str(self.adapter)[:120]!r}; it has "
            f"{_names(listed, 'name')}. Put the file there and refresh its list."
        )

    def _list(self, path: str, key: str) -> list[dict[str, Any]]:
        answer = self.client.get(path).json()
        if not isinstance(answer, list) or not all(
            isinstance(entry, dict) and isinstance(entry.get(key), str) for entry in answer
        ):
            raise SuspectError(
                f"{self.client.origin}{path} gave no list; expected the API of the web UI. Was it "
                "started with --api?"
            )
        return answer


def _claimed_size(facts: Any) -> tuple[int, int] | None:
    sides = at_path(facts, "width"), at_path(facts, "height")
    if all(isinstance(side, int) and 0 < side <= 4096 for side in sides):
        return int(sides[0]), int(sides[1])
    return None


def _names(entries: list[dict[str, Any]], key: str) -> str:
    names = [printable(entry[key])[:80] for entry in entries]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or (
        "none"
    )
