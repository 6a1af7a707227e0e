"""What can be said of the image and the compose file without a container engine."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    program = Path(sys.executable).with_name("docker-compose")
    command = [str(program), "--profile", "*", "config", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["services"]


def test_services_have_no_rights_and_are_open_to_this_machine_only(
    services: dict[str, dict[str, Any]],
) -> None:
    for name, service in services.items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "healthcheck" in service or name == "job"
        # Images that are not built here start as root.
        assert "build" in service or service["user"] != "root", name
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", ())), name
    published = {
        name: int(port["published"])
        for name, service in services.items()
        for port in service.get("ports", ())
    }
    assert published == {"api": 8080, "app": 8501, "mlflow": 5000}


def test_servers_that_listen_to_other_containers_are_given_the_key(
    services: dict[str, dict[str, Any]],
) -> None:
    """Without a key, they end with an error: see `ml.serving.server`."""
    listening = {name for name, each in services.items() if "0.0.0.0" in (each["command"] or ())}
    assert listening == {"api", "app"}
    for name in listening:
        assert "RESTOCK_API_KEY" in services[name]["environment"], name


def test_a_workspace_is_one_volume(services: dict[str, dict[str, Any]]) -> None:
    for name in ("job", "api", "app"):
        mounts = {
            mount["target"]: mount["source"]
            for mount in services[name]["volumes"]
            if mount["target"] != "/orders"
        }
        assert mounts == {"/data": "workspace"}


def test_the_image_is_built_from_all_that_the_wheel_is_made_of() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
        "targets"
    ]["wheel"]
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert "*" in ignore and {*wheel["only-include"], *wheel["force-include"]} <= let_through
    assert all((ROOT / name).exists() for name in let_through)


def test_every_image_ends_as_a_user_other_than_root() -> None:
    stages = (ROOT / "Dockerfile").read_text().split("\nFROM ")[1:]
    users = [
        [line.split()[1] for line in stage.splitlines() if line.startswith("USER")]
        for stage in stages
    ]
    assert users == [[], ["10001"], ["10001"]]
