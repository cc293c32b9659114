"""A stand-in on loopback for a prediction-style API."""

from __future__ import annotations

import base64
from typing import Any

from support.standins import Standin, noise, png, spoilt

TOKEN = "r8_top-secret-token"


class HostedStandin(Standin):
    """A prediction API: create (201, starting), poll (processing, then succeeded), download."""

    def __init__(self, *, cdn: str = "") -> None:
        super().__init__()
        self.cdn = cdn or f"http://{self.place}"
        self.jobs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}

    def answer(self, handler: Any, method: str, path: str, query: Any, body: Any) -> None:
        if path.startswith("/files/"):
            data = self.files.get(path.removeprefix("/files/"))
            self.send(handler, 200 if data else 404, data or b"", "image/png")
            return
        if handler.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.json(handler, {"detail": "Unauthenticated"}, 401)
            return
        if (method, path) == ("POST", "/v1/predictions"):
            self.create(handler, body)
        elif method == "GET" and path.removeprefix("/v1/predictions/") in self.jobs:
            job = self.jobs[path.removeprefix("/v1/predictions/")]
            fault = job["poll faults"].pop(0) if job["poll faults"] else ""
            if fault and self.misbehave(handler, fault):
                return
            self.json(handler, job["states"].pop(0) if len(job["states"]) > 1 else job["states"][0])
        else:
            self.json(handler, {"detail": "Not found"}, 404)

    def create(self, handler: Any, body: Any) -> None:
        fault = self.fault()
        if fault and self.misbehave(handler, fault):
            return
        given = body.get("input", {})
        types = {"prompt": str, "seed": int, "width": int, "height": int, "guidance_scale": float}
        if set(body) != {"version", "input"} or any(
            name not in types or not isinstance(value, (types[name], int))
            for name, value in given.items()
        ):
            self.json(handler, {"title": "Input validation failed", "status": 422}, 422)
            return
        number = f"job{len(self.jobs)}"
        self.files[f"{number}.png"] = spoilt(noise(given), fault)
        first = {"id": number, "status": "starting", "output": None, "error": None}
        output = [f"{self.cdn}/files/{number}.png"]
        if fault == "data":
            output = [f"data:image/png;base64,{base64.b64encode(png(noise(given))).decode()}"]
        if fault == "file":
            output = ["file:///etc/passwd"]
        last = {**first, "status": "succeeded", "output": output}
        if fault == "failed":
            last = {**first, "status": "failed", "error": f"NSFW content detected {TOKEN}"}
        if fault == "odd state":
            last = {**first, "status": "pondering"}
        if fault == "evil id":
            first["id"] = "../../admin"
        states = [{**first, "status": "processing"}, last]
        polls = ["500", "html"] if fault == "bad polls" else []
        if fault == "never":
            states = states[:1]
        self.jobs[number] = {"states": states, "poll faults": polls}
        self.json(handler, first, 201)
