"""run.py: what it installs, in which order, and that a second call installs nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """run.py as a module, with an environment folder of its own."""
    path = ROOT / "run.py"
    if not path.exists():
        pytest.skip("run.py is only in a source tree")
    spec = importlib.util.spec_from_file_location("run_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("SIREN_VENV", str(tmp_path / "venv"))
    monkeypatch.delenv("SIREN_TORCH", raising=False)
    return module


@pytest.fixture
def calls(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Record what run.py would run; the environment is made of empty files."""
    seen: list[list[str]] = []

    def run(command: Sequence[str]) -> int:
        seen.append([str(part) for part in command])
        return 0

    def make(folder: Path) -> None:
        python = script.interpreter(folder)
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()

    monkeypatch.setattr(script, "run", run)
    monkeypatch.setattr(script, "become", run)
    monkeypatch.setattr(script, "succeeds", lambda command: True)
    monkeypatch.setattr(script, "make_environment", make)
    return seen


def test_only_the_standard_library_is_imported() -> None:
    lines = (ROOT / "run.py").read_text().splitlines()
    imported = {
        line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))
    }
    assert imported <= sys.stdlib_module_names | {"__future__"}


def test_second_call_installs_nothing(script: ModuleType, calls: list[list[str]]) -> None:
    assert script.main(["test", "-k", "x"]) == 0
    assert "--editable" in calls[0]
    assert calls[0][-1].endswith("[dev]")
    assert calls[1][1:] == ["-m", "pytest", "-k", "x"]
    calls.clear()
    assert script.main(["test"]) == 0
    assert [call[1:] for call in calls] == [["-m", "pytest"]]


def test_each_command_has_its_own_stamp(script: ModuleType, calls: list[list[str]]) -> None:
    script.main(["test"])
    script.main(["demo"])
    assert [call[-1].rpartition("[")[2] for call in calls if "--editable" in call] == [
        "dev]",
        "models]",
    ]
    stamp = script.environment() / "siren-installed.json"
    assert set(json.loads(stamp.read_text())) == {"dev", "models"}


def test_new_requirements_install_again(
    script: ModuleType, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    script.main(["test"])
    calls.clear()
    monkeypatch.setattr(script, "fingerprint", lambda: "other")
    script.main(["test"])
    assert any("--editable" in call for call in calls)


def test_failed_installation_leaves_no_stamp(
    script: ModuleType,
    calls: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "run", lambda command: 1)
    assert script.main(["demo"]) == 2
    assert "installation failed" in capsys.readouterr().err
    assert not (script.environment() / "siren-installed.json").exists()


def test_fuzz_shares_the_environment_of_the_tests(
    script: ModuleType, calls: list[list[str]]
) -> None:
    assert script.main(["test"]) == 0
    calls.clear()
    assert script.main(["fuzz", "--minutes", "2"]) == 0
    (command,) = calls
    assert command[1:] == [str(ROOT / "benchmarks" / "fuzz.py"), "--minutes", "2"]


def test_demo_folder(script: ModuleType, calls: list[list[str]], tmp_path: Path) -> None:
    script.main(["demo"])
    assert calls[-1][1:] == ["-m", "siren_ext", "demo", str(Path("out", "demo"))]
    script.main(["demo", "here", "--set", "seed=1"])
    assert calls[-1][-4:] == ["demo", str(Path.cwd() / "here"), "--set", "seed=1"]


@pytest.mark.parametrize("arguments", [[], ["cook"]])
def test_usage(script: ModuleType, arguments: list[str], capsys) -> None:
    assert script.main(arguments) == 2
    assert "python run.py test" in capsys.readouterr().err


def test_torch_without_a_gpu_is_the_cpu_build_first(script: ModuleType) -> None:
    plans = script.torch_plans(Path("py"), "Linux", False, None)
    steps = [calls for _, calls in plans]
    assert steps[0][0][-1] == f"torch=={script.CPU_TORCH}+cpu"
    assert "--torch-backend" in steps[1][1]
    assert steps[1][1][steps[1][1].index("--torch-backend") + 1] == "cpu"
    assert steps[2] == [script.pip(script.TORCH_RANGE)]


@pytest.mark.parametrize(
    ("system", "gpu"), [("Darwin", False), ("Linux", True), ("Windows", False)]
)
def test_elsewhere_the_usual_torch_fits(script: ModuleType, system: str, gpu: bool) -> None:
    plans = script.torch_plans(Path("py"), system, gpu, None)
    assert [calls for _, calls in plans] == [[script.pip(script.TORCH_RANGE)]]


def test_torch_can_be_chosen(script: ModuleType) -> None:
    plans = script.torch_plans(Path("py"), "Linux", False, "torch==2.2.2 'numpy<2'")
    assert plans[0][1][0][-2:] == ["torch==2.2.2", "numpy<2"]
    assert len(plans) == 1


def test_next_way_to_torch_is_tried(script: ModuleType, monkeypatch, capsys) -> None:
    tried: list[str] = []

    def succeeds(command: Sequence[str]) -> bool:
        tried.append(str(command[-1]))
        return "uv>=0.6.9" in tried and command[-1] != f"torch=={script.CPU_TORCH}+cpu"

    monkeypatch.setattr(script, "succeeds", succeeds)
    monkeypatch.setattr(script, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(script.platform, "system", lambda: "Linux")
    script.install_torch(Path("py"))
    exact = f"torch=={script.CPU_TORCH}"
    assert tried == ["import torch", f"{exact}+cpu", "uv>=0.6.9", exact, "import torch"]
    assert "several GB" not in capsys.readouterr().err


def test_torch_that_never_installs_is_an_error(script: ModuleType, monkeypatch) -> None:
    monkeypatch.setattr(script, "succeeds", lambda command: False)
    monkeypatch.setattr(script, "run", lambda command: 1)
    with pytest.raises(script.SetupError, match="SIREN_TORCH"):
        script.install_torch(Path("py"))


@pytest.mark.skipif(os.name != "posix", reason="there it is Ctrl-C alone, which reaches all")
@pytest.mark.timeout(60)
def test_an_interrupt_sent_to_the_script_alone_stops_the_command(
    script: ModuleType, tmp_path: Path
) -> None:
    python, told = script.interpreter(script.environment()), tmp_path / "told"
    python.parent.mkdir(parents=True)
    python.write_text(
        f"#!/bin/sh\ntrap 'echo stopped; exit 130' INT\necho \"$@\" > '{told}'\n"
        "while :; do sleep 0.1; done\n"
    )
    python.chmod(0o755)
    stamp = json.dumps({script.EXTRAS["demo"]: script.fingerprint()})
    (script.environment() / "siren-installed.json").write_text(stamp)
    process = subprocess.Popen(
        [sys.executable, script.__file__, "demo", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        text=True,
        # as a shell starts it, whatever this test was started with
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        while not (told.is_file() and told.read_text().endswith("\n")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == ("stopped\n", None)
        assert process.returncode == 130
        assert told.read_text() == f"-m siren_ext demo {tmp_path / 'out'}\n"
    finally:
        process.kill()
