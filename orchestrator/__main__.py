"""`python -m orchestrator`: the same as the `forkyard` command."""

import sys

from orchestrator.cli import main

sys.exit(main())
