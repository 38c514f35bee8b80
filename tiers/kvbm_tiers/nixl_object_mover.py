"""The mover between memory and object storage by NIXL's OBJ (S3) or AZURE_BLOB."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from kvbm_events.schema import TierName
from kvbm_tiers.job_book import wall_clock_us
from kvbm_tiers.nixl_agent import ObjectAgent, Row
from kvbm_tiers.nixl_host_mover import NixlHostMover
from kvbm_tiers.nixl_sides import BucketSide
from kvbm_tiers.objects.bucket import Bucket
from kvbm_tiers.objects.place import Place
from kvbm_tiers.store import Store


class NixlObjectMover(NixlHostMover):
    """Moves between one bucket among its stores and the others."""

    def __init__(
        self,
        stores: Mapping[TierName, Store],
        bucket: Bucket,
        *,
        blocks_max: int = 1 << 16,
        hang_s: float = 60.0,
        patience_s: float = 10.0,
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        """See `NixlMover`."""
        self._bucket = bucket
        super().__init__(stores, blocks_max=blocks_max, hang_s=hang_s, patience_s=patience_s, now_us=now_us)

    def _side(self, store: Store) -> BucketSide | None:
        return BucketSide(self._bucket) if store is self._bucket else None

    def _agent(self, name: str, memory: Sequence[Row]) -> ObjectAgent:
        backend, parameters = nixl_parameters(self._bucket.blocks.place)
        return ObjectAgent(name, backend, parameters, memory)


def nixl_parameters(place: Place) -> tuple[str, dict[str, str]]:
    """NIXL's name of a kind of store, and where it is. S3's credentials NIXL finds in the environment by itself.

    Azure's it finds there too, unless they are an account's key: then it wants a connection string, made here.
    """
    threads = {"num_threads": str(place.requests)}  # left to itself, it takes the number of cores
    if place.scheme == "az":
        return "AZURE_BLOB", {"container_name": place.bucket, **_account(place.endpoint), **threads}
    parameters = {"bucket": place.bucket, "use_virtual_addressing": str(place.is_virtual).lower(), **threads}
    parameters["region"] = place.region or os.environ.get("AWS_REGION", "us-east-1")
    if place.endpoint:
        parameters |= {"endpoint_override": place.endpoint, "scheme": place.endpoint.partition(":")[0]}
    return "OBJ", parameters


def _account(endpoint: str) -> dict[str, str]:
    name, key = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", ""), os.environ.get("AZURE_STORAGE_ACCOUNT_KEY", "")
    url = endpoint or f"https://{name}.blob.core.windows.net"
    if not key:
        return {"account_url": url}
    protocol = url.partition(":")[0]
    parts = {"DefaultEndpointsProtocol": protocol, "AccountName": name, "AccountKey": key, "BlobEndpoint": url}
    return {"connection_string": ";".join(f"{part}={value}" for part, value in parts.items()) + ";"}
