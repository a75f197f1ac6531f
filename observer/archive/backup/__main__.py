"""`python -m observer.archive.backup`: one backup, for the core writer."""

import sys

from observer.archive.backup.process import main

if __name__ == "__main__":
    sys.exit(main())
