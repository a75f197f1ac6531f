"""What the key of a client on the network allows. On the machine itself the user of the files may do everything."""

from typing import Final, Literal, get_args

Role = Literal["collector", "reader", "operator"]
"""A collector delivers events and obeys orders, a reader reads the feeds and the status, an operator may do all."""

ROLES: Final[tuple[Role, ...]] = get_args(Role)
COLLECTORS: Final[frozenset[Role]] = frozenset({"collector", "operator"})
READERS: Final[frozenset[Role]] = frozenset({"reader", "operator"})
ANY_ROLE: Final[frozenset[Role]] = frozenset(ROLES)
