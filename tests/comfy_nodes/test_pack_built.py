"""The built pack, and the whole repository as a pack: both work on their own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.comfy_server import PACK, ROOT, VARIABLE, Server, interpreter
from support.comfy_workflows import ICONS, loaded, node
from support.scripts import load_script

from siren_ext.samples.folder import sample_folder

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

packs = load_script(ROOT / "build_packs.py")
# ComfyUI's own, or not needed by nodes: these are never touched
OWN = {"torch", "numpy", "pillow", "safetensors", "transformers", "typer", "rich"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pack."""
    pack, extension = packs.build(tmp_path_factory.mktemp("packs"))
    assert (pack.name, extension.name) == ("siren-coating", "siren")
    return Path(pack)


def test_the_pack_is_complete(built: Path) -> None:
    for name in ("__init__.py", "pyproject.toml", "requirements.txt", "LICENSE", "icon.svg"):
        assert (built / name).is_file(), name
    for name in ("web/siren.js", "locales/ja/nodeDefs.json", ".comfyignore"):
        assert (built / name).is_file(), name
    coaters = built / "lib" / "siren_ext" / "pocket" / "coaters"
    assert (coaters / "samples.safetensors").stat().st_size > 100_000
    assert [path for path in built.rglob("*") if path.name == "__pycache__"] == []
    with pytest.raises(packs.BuildError, match="exists already"):
        packs.build(built.parent)


@pytest.mark.slow
def test_comfyui_itself_reads_the_project_file(built: Path) -> None:
    python = interpreter()
    if python is None:
        pytest.skip(f"{VARIABLE} names no interpreter")
    code = (
        "import sys; from comfy_config.config_parser import extract_node_configuration as read\n"
        "found = read(sys.argv[1]); project, comfy = found.project, found.tool_comfy\n"
        "print(project.name, project.version, project.requires_python, project.license.file,\n"
        "      project.urls.repository, comfy.publisher_id, comfy.icon,\n"
        "      project.supported_comfyui_version, *comfy.includes, sep='\\n')"
    )
    done = subprocess.run(
        [str(python), "-c", code, str(built)],
        capture_output=True,
        text=True,
        cwd=python.parent.parent / "comfyui",
    )
    assert done.returncode == 0, done.stderr
    with (built / "pyproject.toml").open("rb") as stream:
        stated = tomllib.load(stream)
    project, comfy = stated["project"], stated["tool"]["comfy"]
    assert done.stdout.splitlines() == [
        project["name"], project["version"], project["requires-python"],
        project["license"]["file"], project["urls"]["Repository"], comfy["PublisherId"],
        comfy["Icon"], comfy["requires-comfyui"], *comfy["includes"],
    ]  # fmt: skip


def test_the_package_inside_is_used(built: Path, tmp_path: Path) -> None:
    # as ComfyUI loads a pack, whose folder is not a name that import takes
    code = (
        "import sys; from importlib.util import module_from_spec, spec_from_file_location\n"
        "spec = spec_from_file_location('pack', sys.argv[1] + '/__init__.py')\n"
        "pack = module_from_spec(spec); spec.loader.exec_module(pack)\n"
        "import siren_ext.errors; print(siren_ext.errors.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(built)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert Path(done.stdout.strip()).is_relative_to(built / "lib")


def test_requirements_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = {*project["dependencies"], *extras["models"], *extras["evidence"]}
    lines = set((PACK / "requirements.txt").read_text().split("\n")) - {""}
    assert lines <= wanted
    names = {re.split(r"[\[<>=~!;]", line)[0].casefold() for line in wanted - lines}
    # time stamps and their check belong to the command line
    assert names == OWN | {"rfc3161-client"}


def test_the_registry_finds_what_it_asks_for() -> None:
    project = tomllib.loads((PACK / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["urls"]["Repository"].startswith("https://")
    comfy = project["tool"]["comfy"]
    assert comfy["PublisherId"]
    assert comfy["Icon"].endswith("/comfy_nodes/icon.svg")
    assert comfy["includes"] == ["lib"]
    assert re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["built", "repository"])
def test_a_server_coats_with_it(built: Path, tmp_path: Path, kind: str) -> None:
    python = interpreter()
    if python is None:
        pytest.skip(f"{VARIABLE} names no interpreter")
    (tmp_path / "input").mkdir()
    picture = sample_folder() / ICONS[0]
    (tmp_path / "input" / picture.name).write_bytes(picture.read_bytes())
    server = Server(python, tmp_path, packs=(built if kind == "built" else ROOT,), library=())
    try:
        graph = loaded(ICONS[0]) | {
            "coat": node(
                "SirenCoatImage", coater=["coater", 0], image=["picture", 0], strength=1.0
            ),
            "save": node(
                "SirenSaveCoatedImage", images=["coat", 0], record=["coat", 2], save_as="coated"
            ),
        }
        entry = server.run(graph)
        assert entry["status"]["status_str"] == "success", entry["status"]
        folder = f"siren_{(built if kind == 'built' else ROOT).name}"
        assert b"registerExtension" in server.raw(f"extensions/{folder}/siren.js")
    finally:
        server.close()
    with Image.open(tmp_path / "output" / "coated_try-out_00001.png") as seen:
        coated = np.asarray(seen.convert("RGB")).astype(int)
    with Image.open(picture) as seen:
        assert 0 < np.abs(coated - np.asarray(seen.convert("RGB"))).max() < 64
