"""`python -m kvbm_nats.cli`: the command without its script."""

import sys

from kvbm_nats.cli import main

sys.exit(main())
