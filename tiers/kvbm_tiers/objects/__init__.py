"""Object storage as a tier: what its objects are called, how they are written, read, deleted, and found when nobody needs them."""

from kvbm_tiers.objects.bucket import Bucket
from kvbm_tiers.objects.client import ObjectClient, Stored, open_client
from kvbm_tiers.objects.names import Names
from kvbm_tiers.objects.orphans import Orphan, delete_orphans, orphans
from kvbm_tiers.objects.place import Place

__all__ = ["Bucket", "Names", "ObjectClient", "Orphan", "Place", "Stored", "delete_orphans", "open_client", "orphans"]
