"""The child of the compared process managers.

Modes: works - stubborn (ignores SIGTERM) - ends (after 1.3 s, with status 1).

If the environment has a lifeline (only our supervisor sets one), the child watches it, as our workers do.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


def watch(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.killpg(0, signal.SIGKILL)


mode, note = sys.argv[1:3]
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if (text := os.environ.get("OBSERVER_LIFELINE_FD")) is not None:
    threading.Thread(target=watch, args=(int(text),), daemon=True).start()
with Path(note).open("a") as notes:
    print(os.getpid(), file=notes)
if mode == "works":
    subprocess.Popen(["sleep", "infinity"])
if mode != "ends":
    signal.pause()
time.sleep(1.3)  # the lifetime of a child in the restart-storm test
sys.exit(1)
