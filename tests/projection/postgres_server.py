"""A Postgres server for tests: made anew, as an unprivileged user, on a unix socket in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")


def find_binaries() -> Path | None:
    """The folder with `initdb` and `postgres`, the newest version first."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    folders = [folder for pattern in FOLDERS for folder in Path("/").glob(pattern.lstrip("/"))]
    return max((folder for folder in folders if (folder / "initdb").exists()), default=None)


@contextmanager
def postgres_server(binaries: Path) -> Iterator[str]:
    """A server that is ready; the URL of its `postgres` database, to which a database's name can be given."""
    user = {"user": "nobody"} if os.geteuid() == 0 else {}  # Postgres refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="kvbm-postgres-", dir="/tmp"))
    if user:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    try:
        initdb = [
            binaries / "initdb",
            "-D",
            folder / "data",
            "-U",
            "kvbm",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        ]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **user)
        command = [binaries / "postgres", "-D", folder / "data", "-k", folder, "-h", "", "-F"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder, **user) as server:
            assert server.stderr
            said = []
            for line in server.stderr:
                said.append(line)
                if "ready to accept connections" in line:
                    break
            else:
                raise AssertionError("".join(said))
            try:
                yield f"postgresql://kvbm@/postgres?host={folder}"
            finally:
                server.send_signal(signal.SIGINT)
                server.communicate(timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
