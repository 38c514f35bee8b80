"""The vocabulary and the log: events, subjects, codec, and the two logs (JetStream, in memory)."""
