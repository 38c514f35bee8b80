"""`kvbm serve`: owners of instances as a NATS micro service, for those who do not embed one. Its client is `Publisher`.

Begin with `server`. `messages`, `wire` and `asking` are the client's too.
"""
