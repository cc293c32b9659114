"""A stand-in on loopback for the web UI's API."""

from __future__ import annotations

import base64
import json
from typing import Any

from support.standins import Draw, Standin, noise, spoilt

CHECKPOINTS = [
    {
        "title": "base.safetensors [aaaaaaaaaa]",
        "model_name": "base",
        "hash": "aaaaaaaaaa",
        "sha256": "a" * 64,
        "filename": "/srv/models/base.safetensors",
        "config": None,
    },
    {
        "title": "other.safetensors",
        "model_name": "other",
        "hash": None,
        "sha256": None,
        "filename": "/srv/models/other.safetensors",
        "config": None,
    },
]


LORAS = [
    {
        "name": "stolen",
        "alias": "my_style",
        "path": "/srv/lora/stolen.safetensors",
        "metadata": {"sshs_model_hash": "b" * 64},
    },
    {"name": "dead", "alias": "dead", "path": "/srv/lora/dead.safetensors", "metadata": {}},
]


# Fields of StableDiffusionTxt2ImgProcessingAPI (web UI 1.10.1) that a caller may set, with types.
TXT2IMG: dict[str, tuple[type, ...]] = {
    "prompt": (str,),
    "negative_prompt": (str,),
    "styles": (list,),
    "seed": (int,),
    "subseed": (int,),
    "subseed_strength": (int, float),
    "seed_resize_from_h": (int,),
    "seed_resize_from_w": (int,),
    "sampler_name": (str,),
    "scheduler": (str,),
    "batch_size": (int,),
    "n_iter": (int,),
    "steps": (int,),
    "cfg_scale": (int, float),
    "width": (int,),
    "height": (int,),
    "restore_faces": (bool,),
    "tiling": (bool,),
    "do_not_save_samples": (bool,),
    "do_not_save_grid": (bool,),
    "eta": (int, float),
    "override_settings": (dict,),
    "override_settings_restore_afterwards": (bool,),
    "enable_hr": (bool,),
    "script_name": (str,),
    "script_args": (list,),
    "send_images": (bool,),
    "save_images": (bool,),
    "alwayson_scripts": (dict,),
    "infotext": (str,),
}


# Fields of StableDiffusionImg2ImgProcessingAPI beside those.
IMG2IMG: dict[str, tuple[type, ...]] = {
    **TXT2IMG,
    "init_images": (list,),
    "denoising_strength": (int, float),
    "resize_mode": (int,),
    "mask": (str,),
    "include_init_images": (bool,),
}


SAMPLERS = ("Euler", "Euler a", "DPM++ 2M", "DDIM")


class A1111Standin(Standin):
    """``/sdapi/v1``: an unknown LoRA is left out and an unknown checkpoint replaced, silently."""

    def __init__(self, draw: Draw = noise, *, login: str = "") -> None:
        super().__init__()
        self.draw = draw
        self.login = login
        self.listed = list(CHECKPOINTS)
        self.loaded = self.listed[0]
        self.loras = list(LORAS)
        # what the answers say about the checkpoint; None: AUTOMATIC1111's words for CHECKPOINTS
        self.said: dict[str, Any] | None = None
        self.stuck = False

    def answer(self, handler: Any, method: str, path: str, query: Any, body: Any) -> None:
        if self.login:
            expected = "Basic " + base64.b64encode(self.login.encode()).decode()
            if handler.headers.get("Authorization") != expected:
                self.json(handler, {"detail": "Incorrect username or password"}, 401)
                return
        if (method, path) == ("GET", "/sdapi/v1/sd-models"):
            self.json(handler, self.listed)
        elif (method, path) == ("GET", "/sdapi/v1/loras"):
            self.json(handler, self.loras)
        elif (method, path) == ("GET", "/sdapi/v1/options"):
            self.json(handler, {"sd_model_checkpoint": self.loaded["title"], "CLIP_stop": 1})
        elif (method, path) == ("POST", "/sdapi/v1/txt2img"):
            self.picture(handler, body, TXT2IMG)
        elif (method, path) == ("POST", "/sdapi/v1/img2img") and body.get("init_images"):
            self.picture(handler, body, IMG2IMG)
        else:
            self.json(handler, {"detail": "Not Found"}, 404)

    def picture(
        self, handler: Any, body: dict[str, Any], fields: dict[str, tuple[type, ...]]
    ) -> None:
        fault = self.fault()
        if fault and self.misbehave(handler, fault):
            return
        wrong = [
            {"loc": ["body", name], "msg": "value is not valid or not known", "type": "type_error"}
            for name, value in body.items()
            if name not in fields
            or not isinstance(value, fields[name])
            or (isinstance(value, bool) and bool not in fields[name])
        ]
        if wrong:
            self.json(handler, {"detail": wrong}, 422)
            return
        if body.get("sampler_name", "Euler") not in SAMPLERS:
            self.json(handler, {"detail": "Sampler not found"}, 404)
            return
        self.switch(body.get("override_settings", {}).get("sd_model_checkpoint", ""))
        width, height = body.get("width", 64), body.get("height", 64)
        prompt, lora = body["prompt"], ""
        start, mark, rest = prompt.partition("<lora:")
        if mark:
            name, _, weight = rest.partition(">")[0].partition(":")
            prompt = start.strip()
            found = any(name in (entry["name"], entry["alias"]) for entry in self.loras)
            if found and name != "dead" and float(weight):
                lora = name
        made = {"prompt": prompt, "seed": body["seed"], "width": width, "height": height}
        image = self.draw({**made, "lora": lora})
        used = json.dumps(f"{lora.replace(':', '').replace(',', '')}: bbbbbbbbbbbb")
        hashes = f", Lora hashes: {used}" if lora else ""
        info = {
            **made,
            "seed": body["seed"] + (fault == "wrong seed"),
            "all_seeds": [body["seed"]],
            "sd_model_name": "other" if fault == "wrong model" else self.loaded["model_name"],
            "sd_model_hash": "cccccccccc" if fault == "wrong model" else self.loaded["hash"],
            "infotexts": [f"{prompt}\nSteps: {body['steps']}{hashes}"],
        }
        if self.said is not None:
            info = {k: v for k, v in info.items() if not k.startswith("sd_model")} | self.said
        images = [base64.b64encode(spoilt(image, fault)).decode()]
        if fault == "no images":
            images = []
        if fault == "not base64":
            images = ["Not/base64 at all!"]
        self.json(handler, {"images": images, "parameters": body, "info": json.dumps(info)})

    def switch(self, wanted: str) -> None:
        for entry in self.listed:
            if wanted in (entry["title"], entry["model_name"]) and not self.stuck:
                self.loaded = entry
