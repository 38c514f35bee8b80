"""What users touch: the owner that is embedded, the service and its client, the projection, replay, and the command."""
