"""The domain: what is collected, with whose keys, when, what exists, what matters, what is kept.

`import observer; observer.open_store(...)` opens what is stored for research: docs/research.md.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from observer.research.errors import MissingExtra, NotCollected, UnknownDay, UnknownSymbol
    from observer.research.listings import Listed
    from observer.research.opening import open_store
    from observer.research.store import Store

__all__ = ["Listed", "MissingExtra", "NotCollected", "Store", "UnknownDay", "UnknownSymbol", "open_store"]

_ERRORS: Final = "observer.research.errors"
_MODULES: Final = {
    "open_store": "observer.research.opening",
    "Store": "observer.research.store",
    "Listed": "observer.research.listings",
    **dict.fromkeys(("MissingExtra", "NotCollected", "UnknownDay", "UnknownSymbol"), _ERRORS),
}


def __getattr__(name: str) -> Any:
    """A name of the public API, imported at its first use: a process that collects imports none of it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
