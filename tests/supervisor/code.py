"""A worker for tests that the zygote can fork: `python -m tests.supervisor.code CODE` runs the code as a program."""

import sys

if __name__ == "__main__":
    exec(sys.argv[1], {"__name__": "__main__"})
