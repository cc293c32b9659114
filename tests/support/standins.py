"""Stand-ins on loopback for the web UI's API, ComfyUI's and a prediction-style one.

They check requests as the real ones do (types, ranges, unknown files) and, beyond that, refuse
fields that the real ones don't have, so that a misspelt one can't pass. ``faults`` is a list of
misbehaviours, one used up per request for a picture.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

import numpy as np
from PIL import Image

Draw = Callable[[dict[str, Any]], Image.Image]
HANG_SECONDS = 5.0
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


def noise(request: dict[str, Any]) -> Image.Image:
    """A picture that is a function of seed, prompt and whether an adapter works."""
    key = zlib.crc32(json.dumps([request["prompt"], request["seed"]]).encode())
    pixels = np.random.default_rng(key).integers(0, 256, (request["height"], request["width"], 3))
    if request.get("lora"):
        pixels = 255 - pixels
    return Image.fromarray(pixels.astype(np.uint8))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A few kilobytes that claim 3.6 gigapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1 << 20))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def spoilt(image: Image.Image, fault: str) -> bytes:
    """The file of a picture, with a fault in it."""
    whole = png(image)
    if fault == "truncated":
        return whole[: len(whole) // 2]
    if fault == "wrong size":
        return png(image.resize((image.width * 2, image.height)))
    if fault == "bomb":
        return bomb()
    if fault == "black":
        return png(Image.new("RGB", image.size))
    if fault == "text":
        return b"There is no picture here, only words."
    return whole


PICTURE_FAULTS = ("truncated", "wrong size", "bomb", "text")
LINE_FAULTS = (
    "500",
    "429",
    "html",
    "hang",
    "drip",
    "head drip",
    "cut",
    "giant",
    "endless",
    "gzip",
    "hang up",
)


class Standin:
    """A server in threads; ``seen`` are the requests as (method, path, body)."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.seen: list[tuple[str, str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.closing = threading.Event()
        self.elsewhere = "http://127.0.0.1:9/evil"
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                owner.serve(self, "GET", b"")

            def do_POST(self) -> None:
                owner.serve(self, "POST", self.rfile.read(int(self.headers["Content-Length"])))

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.place = f"127.0.0.1:{self.port}"

    def serve(self, handler: BaseHTTPRequestHandler, method: str, data: bytes) -> None:
        self.headers.append({k.lower(): v for k, v in handler.headers.items()})
        body: Any = data
        if handler.headers.get("Content-Type", "").startswith("application/json"):
            body = json.loads(data)
        self.seen.append((method, handler.path, body))
        parts = urlsplit(handler.path)
        try:
            self.answer(handler, method, unquote(parts.path), dict(parse_qsl(parts.query)), body)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True

    def answer(
        self,
        handler: BaseHTTPRequestHandler,
        method: str,
        path: str,
        query: dict[str, str],
        body: Any,
    ) -> None:
        raise NotImplementedError

    def fault(self) -> str:
        return self.faults.pop(0) if self.faults else ""

    def send(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        data: bytes,
        kind: str = "application/json",
        **headers: str,
    ) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    def json(self, handler: BaseHTTPRequestHandler, value: Any, status: int = 200) -> None:
        self.send(handler, status, json.dumps(value).encode())

    def misbehave(self, handler: BaseHTTPRequestHandler, fault: str) -> bool:
        """Answer badly on the level of HTTP; False when ``fault`` is of another kind."""
        handler.close_connection = True
        if fault == "500":
            self.send(handler, 500, b'{"error": "OutOfMemoryError"}')
        elif fault == "429":
            self.send(handler, 429, b"{}", Retry_After="0")
        elif fault == "html":
            self.send(handler, 200, b"<html><body>Please log in</body></html>", "text/html")
        elif fault == "hang":
            self.closing.wait(HANG_SECONDS)
        elif fault in ("drip", "head drip"):
            slow = b"X-Slow: "
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            if fault == "drip":
                handler.wfile.write(b"Content-Length: 100000\r\n\r\n")
                slow = b" " * 100
            for letter in slow * 20:
                if self.closing.wait(0.02):
                    break
                handler.wfile.write(bytes([letter]))
        elif fault == "cut":
            handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"images": ["')
        elif fault == "giant":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n[[[[")
            self.closing.wait(0.2)
        elif fault == "endless":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not self.closing.is_set():
                handler.wfile.write(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
        elif fault == "gzip":
            self.send(handler, 200, zlib.compress(b"{}"), Content_Encoding="gzip")
        elif fault == "hang up":
            pass
        elif fault == "redirect":
            self.send(handler, 307, b"", Location=self.elsewhere)
        elif fault == "forbidden":
            token = handler.headers.get("Authorization", "")
            self.send(handler, 403, f'{{"detail": "bad token {token}"}}'.encode())
        else:
            handler.close_connection = False
            return False
        return True


@contextmanager
def running(standin: Any) -> Iterator[Any]:
    thread = threading.Thread(target=standin.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield standin
    finally:
        standin.closing.set()
        standin.server.shutdown()
        standin.server.server_close()


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
SAMPLERS = ("Euler", "Euler a", "DPM++ 2M", "DDIM")


class A1111Standin(Standin):
    """``/sdapi/v1``: an unknown LoRA is left out and an unknown checkpoint replaced, silently."""

    def __init__(self, draw: Draw = noise, *, login: str = "") -> None:
        super().__init__()
        self.draw = draw
        self.login = login
        self.loaded = CHECKPOINTS[0]
        self.stuck = False

    def answer(self, handler: Any, method: str, path: str, query: Any, body: Any) -> None:
        if self.login:
            expected = "Basic " + base64.b64encode(self.login.encode()).decode()
            if handler.headers.get("Authorization") != expected:
                self.json(handler, {"detail": "Incorrect username or password"}, 401)
                return
        if (method, path) == ("GET", "/sdapi/v1/sd-models"):
            self.json(handler, CHECKPOINTS)
        elif (method, path) == ("GET", "/sdapi/v1/loras"):
            self.json(handler, LORAS)
        elif (method, path) == ("GET", "/sdapi/v1/options"):
            self.json(handler, {"sd_model_checkpoint": self.loaded["title"], "CLIP_stop": 1})
        elif (method, path) == ("POST", "/sdapi/v1/txt2img"):
            self.txt2img(handler, body)
        else:
            self.json(handler, {"detail": "Not Found"}, 404)

    def txt2img(self, handler: Any, body: dict[str, Any]) -> None:
        fault = self.fault()
        if fault and self.misbehave(handler, fault):
            return
        wrong = [
            {"loc": ["body", name], "msg": "value is not valid or not known", "type": "type_error"}
            for name, value in body.items()
            if name not in TXT2IMG
            or not isinstance(value, TXT2IMG[name])
            or (isinstance(value, bool) and bool not in TXT2IMG[name])
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
            if name in ("stolen", "my_style") and float(weight):
                lora = name
        made = {"prompt": prompt, "seed": body["seed"], "width": width, "height": height}
        image = self.draw({**made, "lora": lora})
        hashes = f', Lora hashes: "{lora}: bbbbbbbbbbbb"' if lora else ""
        info = {
            **made,
            "seed": body["seed"] + (fault == "wrong seed"),
            "all_seeds": [body["seed"]],
            "sd_model_name": "other" if fault == "wrong model" else self.loaded["model_name"],
            "sd_model_hash": "cccccccccc" if fault == "wrong model" else self.loaded["hash"],
            "infotexts": [f"{prompt}\nSteps: {body['steps']}{hashes}"],
        }
        images = [base64.b64encode(spoilt(image, fault)).decode()]
        if fault == "no images":
            images = []
        if fault == "not base64":
            images = ["Not/base64 at all!"]
        self.json(handler, {"images": images, "parameters": body, "info": json.dumps(info)})

    def switch(self, wanted: str) -> None:
        for entry in CHECKPOINTS:
            if wanted in (entry["title"], entry["model_name"]) and not self.stuck:
                self.loaded = entry


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


NODES: dict[str, set[str]] = {
    "CheckpointLoaderSimple": {"ckpt_name"},
    "LoraLoader": {"model", "clip", "lora_name", "strength_model", "strength_clip"},
    "CLIPTextEncode": {"clip", "text"},
    "EmptyLatentImage": {"width", "height", "batch_size"},
    "KSampler": {
        *("model", "positive", "negative", "latent_image", "seed", "steps", "cfg"),
        *("sampler_name", "scheduler", "denoise"),
    },
    "VAEDecode": {"samples", "vae"},
    "PreviewImage": {"images"},
    "LoadImage": {"image"},
}


class ComfyStandin(Standin):
    """``/prompt``, ``/history``, ``/view`` and their neighbours, for the nodes in ``NODES``."""

    files: ClassVar = {
        "checkpoints": ["base.safetensors"],
        "loras": ["stolen.safetensors", "dead.pt"],
    }

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.pictures: dict[str, bytes] = {}
        self.uploaded: list[str] = []

    def answer(self, handler: Any, method: str, path: str, query: Any, body: Any) -> None:
        first, _, rest = path.lstrip("/").partition("/")
        if first == "models" and rest in self.files:
            self.json(handler, self.files[rest])
        elif first == "view_metadata":
            known = query["filename"].endswith(".safetensors")
            self.json(
                handler, {"sshs_model_hash": "b" * 64} if known else {}, 200 if known else 404
            )
        elif (method, path) == ("POST", "/prompt"):
            self.queue(handler, body)
        elif first == "history" and rest in self.history:
            states = self.history[rest]
            self.json(handler, states.pop(0) if len(states) > 1 else states[0])
        elif path == "/view" and query.get("filename") in self.pictures:
            self.send(handler, 200, self.pictures[query["filename"]], "image/png")
        elif (method, path) == ("POST", "/upload/image"):
            name = body.partition(b'filename="')[2].partition(b'"')[0].decode()
            self.uploaded.append(name)
            self.json(handler, {"name": name, "subfolder": "", "type": "input"})
        elif (method, path) in (("POST", "/queue"), ("POST", "/interrupt")):
            self.send(handler, 200, b"")
        elif path == "/queue":
            jobs = [[0, job, {}, {}, []] for job in self.history]
            self.json(handler, {"queue_running": jobs, "queue_pending": []})
        else:
            self.send(handler, 404, b"404: Not Found", "text/plain")

    def queue(self, handler: Any, body: Any) -> None:
        fault = self.fault()
        if fault and self.misbehave(handler, fault):
            return
        graph = body["prompt"]
        errors = {
            name: {"errors": [{"message": "Required input is missing or unknown"}]}
            for name, node in graph.items()
            if NODES.get(node["class_type"]) != set(node["inputs"])
        }
        if errors:
            self.json(handler, {"error": {"type": "invalid"}, "node_errors": errors}, 400)
            return
        by_kind = {node["class_type"]: node["inputs"] for node in graph.values()}
        sampler, lora = by_kind["KSampler"], by_kind.get("LoraLoader", {})
        texts = {name: node["inputs"].get("text") for name, node in graph.items()}
        request = {
            "prompt": texts[sampler["positive"][0]],
            "seed": sampler["seed"],
            "width": by_kind["EmptyLatentImage"]["width"],
            "height": by_kind["EmptyLatentImage"]["height"],
            "lora": lora.get("lora_name") == "stolen.safetensors" and lora["strength_model"],
        }
        number = f"0000-{len(self.history)}"
        file = f"temp_{number}.png"
        self.pictures[file] = spoilt(noise(request), fault)
        image = {"filename": file, "subfolder": "", "type": "temp"}
        count = 2 if fault == "two pictures" else 1
        entry: dict[str, Any] = {
            "outputs": {"output": {"images": [image] * count}},
            "status": {"status_str": "success", "completed": True, "messages": []},
        }
        failures = {"memory": "torch.OutOfMemoryError", "broken": "RuntimeError"}
        if fault in failures:
            facts = {
                "node_type": "KSampler",
                "exception_message": f"{fault}!",
                "exception_type": failures[fault],
            }
            status = {"status_str": "error", "messages": [["execution_error", facts]]}
            entry = {"outputs": {}, "status": status}
        states = [{}] if fault == "never" else [{}, {number: entry}]
        self.history[number] = states
        self.json(handler, {"prompt_id": number, "number": 0, "node_errors": {}})
