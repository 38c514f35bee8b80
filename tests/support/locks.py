"""Where workers under test lock their ranks, so that nothing of them is left where real ones do."""

from pathlib import Path
from tempfile import TemporaryDirectory

_FOLDER = TemporaryDirectory(prefix="kvbm-locks-")
LOCKS = Path(_FOLDER.name)
"""Shared by the workers of this process and the commands that it starts; gone with this process."""
