"""Commands that say what there is: models, targets, doctor; version and help."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import Result

from millstream.cli import main
from millstream.cli.requirements import install_line, requirements
from millstream.targets import TARGETS
from millstream_models import CATALOGUE

COMMANDS = ("models", "targets", "doctor", "export", "keygen", "inspect", "verify", "run", "bench", "extract")


def succeeded(result: Result) -> str:
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_models_are_listed_as_text_and_as_json(millstream):
    text = succeeded(millstream("models"))
    listed = json.loads(succeeded(millstream("models", "--json")))["models"]
    assert [model["name"] for model in listed] == [model.name for model in CATALOGUE]
    assert all(model.name in text and model.summary in text for model in CATALOGUE)


def test_targets_are_listed_with_what_is_missing(millstream, monkeypatch):
    assert all(name in succeeded(millstream("targets")) for name in TARGETS)
    monkeypatch.setenv("PATH", "")
    listed = json.loads(succeeded(millstream("targets", "--json")))["targets"]
    lacking = {target["name"]: target["missing"] for target in listed}
    without_compiler = {name for name, lines in lacking.items() if "apt install gcc libc6-dev" in lines}
    assert {"cpu", "c", "relax"} <= without_compiler
    # Their compilers are libraries.
    backends = {"numba", "onnxruntime", "cuda", "opencl", "metal"}
    without_tools = {name for name, target in TARGETS.items() if target.backend in backends}
    assert {name for name, lines in lacking.items() if not lines} == without_tools
    assert lacking["wasm32"] == ["apt install clang lld nodejs"]
    assert "apt install gcc libc6-dev" in succeeded(millstream("targets"))


def test_doctor_lists_every_package_with_its_version_and_extra(millstream):
    document = json.loads(succeeded(millstream("doctor", "--json")))
    packages = {package["name"]: package for package in document["packages"]}
    assert packages["numpy"]["extras"] == []
    assert packages["torch"]["extras"] == ["export"]
    assert packages["torch"]["installed"] == version("torch")
    text = succeeded(millstream("doctor"))
    assert all(name in text for name in packages)
    assert document["surroundings"]["compiler"] in text


def test_doctor_gives_the_line_that_installs_what_is_missing(millstream, monkeypatch):
    monkeypatch.setattr("millstream.cli.requirements.version", _not_numba)
    monkeypatch.setenv("PATH", "")
    document = json.loads(succeeded(millstream("doctor", "--json")))
    fixes = {package["name"]: package["fix"] for package in document["packages"]}
    assert fixes["numba"] == "pip install 'millstream[numba]'"
    assert fixes["numpy"] == ""
    assert document["surroundings"]["compiler"] == ""
    text = succeeded(millstream("doctor"))
    assert "pip install 'millstream[numba]'" in text
    assert "apt install gcc libc6-dev" in text


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_strict_doctor_fails_when_something_is_missing(millstream, monkeypatch, form):
    monkeypatch.setattr("millstream.cli.requirements.version", _not_numba)
    assert millstream("doctor", "--strict", *form).exit_code == 3


def test_a_strict_doctor_misses_the_c_compiler(millstream, monkeypatch):
    monkeypatch.setattr("millstream.cli.requirements.version", lambda name: "1")
    assert millstream("doctor", "--strict").exit_code == 0
    monkeypatch.setenv("PATH", "")
    assert millstream("doctor", "--strict").exit_code == 3


def test_doctor_says_when_the_cache_cannot_be_written(millstream, monkeypatch):
    monkeypatch.setenv("MILLSTREAM_CACHE", "/proc/no-cache-here")
    assert "/proc/no-cache-here" in succeeded(millstream("doctor"))
    document = json.loads(succeeded(millstream("doctor", "--json")))
    assert document["surroundings"]["cache"] == "/proc/no-cache-here"


def _not_numba(name: str) -> str:
    from importlib.metadata import PackageNotFoundError

    if name == "numba":
        raise PackageNotFoundError(name)
    return version(name)


def test_requirements_are_those_of_the_distribution():
    wanted = {each.name: each for each in requirements()}
    assert wanted["numpy"].extras == ("",)
    assert wanted["apache-tvm"].versions == "<0.28,>=0.27"
    assert "all" not in {extra for each in requirements() for extra in each.extras}


def test_the_line_that_installs_a_module():
    assert install_line("tvm.script") == "pip install 'millstream[export]'"
    assert install_line("torch") == "pip install 'millstream[export]'"
    assert install_line("a_users_own_module") == ""


def test_version_and_help(millstream):
    assert succeeded(millstream("--version")) == f"millstream {version('millstream')}\n"
    text = succeeded(millstream("--help"))
    assert all(command in text for command in COMMANDS)
    assert "Exit codes" in text
    for command in COMMANDS:
        described = succeeded(millstream(command, "--help"))
        assert "--json" in described
        assert "--debug" in described


@pytest.mark.parametrize("arguments", [("devour",), ("inspect",), ("models", "--colour")])
def test_a_malformed_command_is_a_usage_error(millstream, arguments):
    assert millstream(*arguments).exit_code == 2


def test_the_command_line_without_typer_names_the_line_that_installs_it(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 3
    assert "pip install 'millstream[export]'" in capsys.readouterr().err


def test_commands_for_a_device_start_without_the_toolchain(bundle):
    """Importing torch takes seconds; `inspect` needs not even a backend."""
    code = f"""
import sys
from millstream.cli.app import app
def used(*arguments):
    app(list(arguments), standalone_mode=False)
    return {{"torch", "onnx", "onnxruntime", "numba", "tvm"}} & sys.modules.keys()
print(used("models"), used("doctor"), used("inspect", {str(bundle)!r}), file=sys.stderr)
used("targets"), used("verify", {str(bundle)!r}), used("bench", {str(bundle)!r}, "--frames", "9")
print("torch" in sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "set() set() set()\nFalse\n"
