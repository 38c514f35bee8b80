"""`kvbm completion`: what a shell sources to complete commands and options."""

from __future__ import annotations

from typing import Literal

from kvbm_nats.cli.app import app
from kvbm_nats.cli.text import write_line


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print the completion script of a shell.

    For bash: `source <(kvbm completion bash)`. For zsh, write it to a file `_kvbm` in a folder of `fpath`. For fish,
    `kvbm completion fish | source`.

    Args:
        shell: which shell it is for
    """
    write_line(app.generate_completion(prog_name="kvbm", shell=shell))
