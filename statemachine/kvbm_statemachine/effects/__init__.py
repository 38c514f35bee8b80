"""The handlers behind `evolve`, by what they are about."""
