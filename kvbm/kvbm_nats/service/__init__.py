"""`kvbm serve`: owners of instances as a NATS micro service, for those who do not embed one. Its client is `Publisher`."""

from kvbm_nats.service.config import InstanceConfig, ServeConfig, load_config
from kvbm_nats.service.server import Server, serve

__all__ = ["InstanceConfig", "ServeConfig", "Server", "load_config", "serve"]
