"""The views, a module each."""

from kvbm_nats.web.view import View
from kvbm_nats.web.views import block, difference, events, instance, instances, misses, request, requests, what_if

VIEWS: list[View] = [
    instances.VIEW,
    instance.VIEW,
    events.VIEW,
    block.VIEW,
    requests.VIEW,
    *request.VIEWS,
    misses.VIEW,
    what_if.VIEW,
    difference.VIEW,
]
