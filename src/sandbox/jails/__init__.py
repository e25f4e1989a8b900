"""The jails by name; each module's header says what it guarantees and what it does not."""

from __future__ import annotations

from src.sandbox.jails.base import Jail
from src.sandbox.jails.bubblewrap import Bubblewrap
from src.sandbox.jails.docker import Docker
from src.sandbox.jails.sandlock import Sandlock
from src.sandbox.jails.unconfined import Unconfined

JAILS: dict[str, type[Jail]] = {jail.name: jail for jail in (Bubblewrap, Sandlock, Docker, Unconfined)}
AUTOMATIC = ("bubblewrap", "sandlock")  # what ``auto`` tries, in order; docker and unconfined are asked for
