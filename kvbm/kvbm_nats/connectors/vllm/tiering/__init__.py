"""What stands behind `KvbmTier`: our disk and object tiers below vLLM's own host memory. Nothing here needs vLLM.

`side` decides, in the engine core's process; `gate` lets the mover touch vLLM's host memory only while vLLM waits for that.
"""
