"""The server of forks.py imports this last: whatever it has imported by then is forked cheaply."""

from cheap_workers import make_forks_cheap

make_forks_cheap()
