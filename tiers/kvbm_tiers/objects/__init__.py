"""Object storage as a tier: what its objects are called, how they are written, read, deleted, and found when nobody needs them."""

from kvbm_tiers.objects.blocks import BlockObject, BlockObjects, find_blocks
from kvbm_tiers.objects.bucket import Bucket
from kvbm_tiers.objects.client import ObjectClient, open_client
from kvbm_tiers.objects.names import Names
from kvbm_tiers.objects.orphans import orphans
from kvbm_tiers.objects.place import Place

__all__ = [
    "BlockObject",
    "BlockObjects",
    "Bucket",
    "Names",
    "ObjectClient",
    "Place",
    "find_blocks",
    "open_client",
    "orphans",
]
