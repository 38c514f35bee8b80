"""The command line, `kvbm`. Commands are modules of their own, imported when they are called."""

from kvbm_nats.cli.app import main

__all__ = ["main"]
