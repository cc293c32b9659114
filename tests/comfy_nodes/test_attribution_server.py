"""The node that ranks images, in the real ComfyUI server."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from support.comfy_server import Server
from support.comfy_workflows import ICONS, example, node, nodes_of, to_api

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(1200)]


def test_a_picture_is_most_similar_to_the_image_that_it_is(server: Server) -> None:
    for name in ICONS[:2]:
        place = server.base / "input" / "pair" / name
        place.parent.mkdir(exist_ok=True)
        shutil.copy(server.base / "input" / name, place)
    graph = {
        "picture": node("LoadImage", image=ICONS[1]),
        "rank": node(
            "SirenWhichImages",
            pictures=["picture", 0],
            base="pocket (bundled)",
            lora="none",
            lora_strength=1.0,
            folder="pair",
            count=2,
            noises=2,
            save_as="siren/influence",
        ),
        "keep": node("SaveImage", images=["rank", 0], filename_prefix="influence"),
    }
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success"
    shown = entry["outputs"]["rank"]
    assert f"{ICONS[1]} has the patches most similar to the picture" in shown["siren"][0]["title"]
    assert "It does not prove that a model was trained" in shown["siren"][0]["lines"][-1]
    assert len(shown["images"]) == len(entry["outputs"]["keep"]["images"]) == 2
    (page,) = (server.base / "output" / "siren").glob("influence_*/attribution.html")
    assert ICONS[1] in page.read_text(encoding="utf-8")


def test_the_example_ranks_the_images_with_the_lora_of_the_pack(server: Server, info: Any) -> None:
    graph = to_api(example("which_images"), info)
    (rank,) = nodes_of(graph, "SirenWhichImages")
    rank.update(noises=2, save_as="siren/example")
    nodes_of(graph, "SirenPocketSampler")[0]["steps"] = 2
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success"
    (number,) = (name for name, one in graph.items() if one["inputs"] is rank)
    shown = entry["outputs"][number]
    assert "is estimated to have shaped the picture most" in shown["siren"][0]["title"]
    assert len(shown["images"]) == len(ICONS)
    (page,) = (server.base / "output" / "siren").glob("example_*/attribution.html")
    assert all(name in page.read_text(encoding="utf-8") for name in ICONS)
