"""Write the schema of `kvbm stat --json` to stdout."""

from __future__ import annotations

import sys

import msgspec

from kvbm_nats.live.sample import Sample

sys.stdout.write(msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Sample)), indent=2).decode() + "\n")
