"""``python -m experiments``."""

import sys

from learn2mix.extras import needs_extra

if __name__ == "__main__":
    try:
        with needs_extra("experiments"):
            from experiments.cli import main
    except ModuleNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(main())
