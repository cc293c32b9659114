"""A stand-in on loopback for a ComfyUI server."""

from __future__ import annotations

from typing import Any, ClassVar

from support.standins import Standin, noise, spoilt

NODES: dict[str, set[str]] = {
    "CheckpointLoaderSimple": {"ckpt_name"},
    "LoraLoader": {"model", "clip", "lora_name", "strength_model", "strength_clip"},
    "CLIPTextEncode": {"clip", "text"},
    "EmptyLatentImage": {"width", "height", "batch_size"},
    "VAEEncode": {"pixels", "vae"},
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
        self.side = 64  # of pictures that are made from others

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
            "width": by_kind.get("EmptyLatentImage", {}).get("width", self.side),
            "height": by_kind.get("EmptyLatentImage", {}).get("height", self.side),
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
