"""Connectors: what stands inside an engine's process and speaks for it to a `BlockManager`."""
