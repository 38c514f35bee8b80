"""Print the JSON schema of `kvbm fsck --json`."""

import sys

import msgspec

from kvbm_nats.fsck.report import Report

sys.stdout.write(msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Report))).decode() + "\n")
