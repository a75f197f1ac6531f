"""polars, imported at its first use: the catalogue states makers, and help or OpenAPI call none."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
else:

    class _AtFirstUse:
        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module("polars"), name)

    pl = _AtFirstUse()

__all__ = ["pl"]
