"""The health of an account in a file, which one process writes and all others read: in the folder `tokens` of the
runtime directory.

A file, not messages: processes that use an account need its health, as its token, while the writer of the database is
down.
"""

from pathlib import Path

from observer.base.state_file import StateFile
from observer.brokers.accounts.health import Health


class HealthFile(StateFile[Health]):
    """The file `<account>.health` in a folder."""

    def __init__(self, folder: Path, account: str) -> None:
        super().__init__(folder / f"{account}.health", Health)
