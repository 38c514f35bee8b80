"""`kvbm dev`, as a new user runs it, and the commands that its banner gives."""

import shlex
import signal
import sqlite3
import subprocess
import sys
import time

import httpx2
import pytest

KVBM = [sys.executable, "-m", "kvbm_nats.cli"]
LINES_MAX = 200


class Dev:
    """`kvbm dev` on a port of its own choice."""

    def __init__(self, folder, *options):
        self.process = subprocess.Popen(
            [*KVBM, "dev", "--folder", folder, "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.said = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def wait_for(self, text):
        """Read on until a line has the text; the line."""
        for line in self.process.stdout:
            self.said.append(line)
            if text in line:
                return line
            assert len(self.said) < LINES_MAX
        raise AssertionError(f"it never said {text!r}: {self.said}")

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 0

    def command(self, name):
        """One of the commands in the banner."""
        return shlex.split(next(line for line in self.said if line.strip().startswith(name)))


def is_gone(url):
    try:
        httpx2.get(url)
    except httpx2.TransportError:
        return True
    return False


def wait_until(is_so):
    give_up_at = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def run(arguments):
    return subprocess.run([*KVBM, *arguments], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("dev") / "state"


def test_a_new_user_sees_traffic_and_can_verify_it(folder):
    with Dev(folder, "--speed", "500") as dev:
        dev.wait_for("kvbm dev is up")
        found = dev.wait_for("demo traffic")
        dev.wait_for("Ctrl-C")
        assert "in g1" in found
        verified = run(dev.command("kvbm replay")[1:])
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert "equal" in verified.stdout
        assert dev.command("curl")[1].startswith("http://127.0.0.1:")
        _, file, query = dev.command("sqlite3")
        assert query == ".tables"
        with sqlite3.connect(file) as tables:
            assert tables.execute("select count(*) from journal").fetchone()[0] > 0
        tables.close()
        dev.stop()
    assert folder.stat().st_mode & 0o077 == 0


def test_what_it_stored_is_still_known_when_it_starts_again(folder):
    with Dev(folder, "--speed", "500") as dev:
        asked = dev.wait_for("demo traffic").split()
        dev.wait_for("Ctrl-C")
        assert "found none" not in " ".join(asked)
        verified = run([*dev.command("kvbm replay")[1:], "--json"])
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert '"epoch":2' in verified.stdout
        dev.stop()


def test_pages_are_served_and_end_with_it(folder):
    with Dev(folder, "--speed", "500", "--web-port", "0") as dev:
        url = dev.wait_for("kvbm web is at").split()[-1]
        assert httpx2.get(f"{url}index.json").json()[0]["instance"] == "demo"
        assert f"kvbm state --instance demo --projection {folder}/projection.db" in httpx2.get(f"{url}i/demo").text
        dev.stop()
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(url)


def test_killed_it_leaves_no_page_behind(folder):
    with Dev(folder, "--speed", "500", "--web-port", "0") as dev:
        url = dev.wait_for("kvbm web is at").split()[-1]
        dev.process.kill()
        dev.process.wait()
        wait_until(lambda: is_gone(url))


def test_two_in_one_folder_are_refused(folder):
    with Dev(folder, "--no-traffic") as dev:
        dev.wait_for("kvbm dev is up")
        second = run(["dev", "--folder", str(folder), "--port", "0"])
        assert second.returncode == 2
        assert "in use" in second.stderr
        dev.stop()


def test_killed_it_leaves_no_server_behind(folder):
    with Dev(folder, "--no-traffic") as dev:
        url = dev.wait_for("kvbm dev is up").split("NATS at ")[1].split(",")[0]
        dev.process.kill()
        dev.process.wait()
    refused = run(["replay", "--nats-url", url, "--instance", "demo"])
    assert refused.returncode == 2
    assert "no NATS server answers" in refused.stderr
