"""``python -m experiments``."""

import os
import sys

from experiments.cli import main

if __name__ == "__main__":
    try:
        code = main()
        sys.stdout.flush()
    except ModuleNotFoundError as error:  # said here, for learn2mix.extras would load the library for `list` too
        if error.name is None or error.name.startswith(("experiments", "learn2mix")):
            raise
        missing = f'this needs {error.name}, which is not installed: pip install "learn2mix[experiments]"'
        print(f"error: {missing}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # `list | head` reads no further; Python would complain again when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(code)
