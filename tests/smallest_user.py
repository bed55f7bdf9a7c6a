"""The smallest user of Redis, as cluster/files/redis.acl has it."""

from __future__ import annotations

from importlib import resources


class SmallestUser:
    """The one line of the file."""

    def __init__(self) -> None:
        word, self.name, *self._rules = (resources.files("cluster") / "files" / "redis.acl").read_text().split()
        assert word == "user"

    def rules(self, password: str) -> list[str]:
        return [rule.replace("PASSWORD", password) for rule in self._rules]


SMALLEST_USER = SmallestUser()
