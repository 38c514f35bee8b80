"""The compose file: valid, and each of its commands runs as a local process against a server with its configuration."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest
import yaml

from kvbm_nats.nats_server import MAX_PAYLOAD_BYTES, find_nats_server
from support.metrics import scrape_blocking, url_of

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
SERVICES = yaml.safe_load(FILE.read_text())["services"]


def command(service, url, folder):
    """A service's command line, with the server and the folder of this test, and metrics on a free port of loopback."""
    here = {"nats://nats:4222": url, "/data": str(folder), "-host=0.0.0.0": "-host=127.0.0.1", "-port=9464": "-port=0"}
    words = "\n".join(SERVICES[service]["command"])
    for there, ours in here.items():
        words = words.replace(there, ours)
    return [sys.executable, "-m", "kvbm_nats.cli", *words.splitlines()]


def start(service, url, folder):
    return subprocess.Popen(command(service, url, folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out + err


def test_docker_compose_takes_the_file():
    tool = shutil.which("docker-compose")
    if not tool:
        pytest.skip("docker-compose is not installed (Debian: apt install docker-compose): the file is not validated")
    for profile in ([], ["--profile", "demo"], ["--profile", "observe"]):
        subprocess.run([tool, *profile, "-f", str(FILE), "config", "-q"], check=True, cwd=ROOT)


def test_only_loopback_is_published():
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port}"


def test_the_files_that_it_names_are_there():
    assert (ROOT / SERVICES["serve"]["build"]["dockerfile"]).is_file()
    source = next(v.split(":")[0] for v in SERVICES["nats"]["volumes"] if v.startswith("./"))
    assert (ROOT / source).is_file()


def test_the_server_takes_its_configuration(tmp_path):
    text = (ROOT / "deploy" / "nats.conf").read_text().replace("/data", str(tmp_path))
    config = tmp_path / "nats.conf"
    config.write_text(text)
    subprocess.run([find_nats_server(), "-c", str(config), "-t"], check=True, capture_output=True)
    assert "sync_interval: always" in text
    assert f"max_payload: {MAX_PAYLOAD_BYTES >> 20}MB" in text


def test_every_command_runs_as_a_local_process(nats_server, tmp_path):
    projection = start("project", nats_server.url, tmp_path)
    service = start("serve", nats_server.url, tmp_path)
    said = [*takewhile(lambda line: "service started" not in line, service.stderr)]
    demo = subprocess.run(
        [word.replace("=20", "=1000") for word in command("demo", nats_server.url, tmp_path)] + ["--requests=30"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert re.match(r"30 requests, [0-9.]+% of [0-9,]+ blocks found", demo.stdout)
    assert scrape_blocking(url_of(said)).value("kvbm_lookups_total", instance="demo") == 30
    end(service)
    end(projection)
    once = [*command("project", nats_server.url, tmp_path), "--once"]
    subprocess.run(once, check=True, timeout=60, env={**os.environ, "NO_COLOR": "1"})
    tables = sqlite3.connect(tmp_path / "projection.db")
    looked_up = tables.execute("select count(*) from journal where type = 'Matched'").fetchone()[0]
    tables.close()
    assert looked_up == 30
