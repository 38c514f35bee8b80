"""The projection: the log as tables, for SQL. Derived, so it may be deleted at any time and is made again."""
