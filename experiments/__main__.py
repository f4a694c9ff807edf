"""``python -m experiments``."""

import sys

from experiments.cli import main

if __name__ == "__main__":
    try:
        sys.exit(main())
    except ModuleNotFoundError as error:  # said here, for learn2mix.extras would load the library for `list` too
        if error.name is None or error.name.startswith(("experiments", "learn2mix")):
            raise
        missing = f'this needs {error.name}, which is not installed: pip install "learn2mix[experiments]"'
        print(f"error: {missing}", file=sys.stderr)
        sys.exit(2)
