"""The Redis user with the fewest rights that the dispatcher works with, as cluster/files/redis.acl defines it."""

from __future__ import annotations

from importlib import resources

from dispatcher.adapters.redis.keys import Keys
from dispatcher.core.cells.names import FIRST_CELL

SINCE_7_2 = ("+client|setinfo", "+waitaof")
"""The rules for commands that Redis has since 7.2.

An older server refuses rules for commands that it does not know. Durability on replicas needs a newer server.
"""


class SmallestUser:
    """The Redis user that the single line of cluster/files/redis.acl defines."""

    def __init__(self) -> None:
        word, self.name, *self._rules = (resources.files("cluster") / "files" / "redis.acl").read_text().split()
        assert word == "user"

    def rules(self, password: str, server_version: str, cell: str = FIRST_CELL) -> list[str]:
        """Return the user's rules that a server of this version of Redis knows, with `password` filled in.

        The user may use the keys and channels of `cell`.
        """
        older = tuple(int(part) for part in server_version.split(".")[:2]) < (7, 2)
        known = [rule for rule in self._rules if not (older and rule in SINCE_7_2)]
        of_cell = Keys().prefix, Keys(cell).prefix
        return [rule.replace("PASSWORD", password).replace(*of_cell) for rule in known]


SMALLEST_USER = SmallestUser()
