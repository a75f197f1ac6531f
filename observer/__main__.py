"""`python -m observer` is the command `observer`."""

from observer.cli.app import main

if __name__ == "__main__":
    main()
