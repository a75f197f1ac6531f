"""The catalogue of relations: what a person can ask for, by name (observer/research/DESIGN.md)."""

from collections.abc import Mapping
from typing import Final

from observer.base.errors import ConfigError, did_you_mean
from observer.research.relation import Relation
from observer.research.relations.completeness import COMPLETENESS
from observer.research.relations.reference import REFERENCE
from observer.research.relations.selection import SELECTION
from observer.research.relations.system import SYSTEM
from observer.research.relations.trading import TRADING

RELATIONS: Final[Mapping[str, Relation]] = {
    each.name: each for each in (*TRADING, *SELECTION, *COMPLETENESS, *REFERENCE, *SYSTEM)
}


def relation_named(name: str) -> Relation:
    """The relation with this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in RELATIONS:
        raise ConfigError(f"{name!r} is no relation{did_you_mean(name, RELATIONS)}")
    return RELATIONS[name]
