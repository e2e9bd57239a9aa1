"""
Everything this system says no to:

* Refused               the business says no; trying again cannot help
  - NotFound            there is no such thing, or it is not yours to see
  - Conflict            the thing is past the point of this change, or another took its place
  - Invalid             the request cannot be understood; the message names the field and the cure
* Outage                someone else is down; trying again may help
  - Busy                nobody is down: all hands are full
"""

from typing import ClassVar


class Refused(Exception):
    """A final no. `code` is stable and public; the message is for people."""

    code: ClassVar[str] = "refused"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code  # type: ignore[misc]  # an instance may be more exact than its class


class NotFound(Refused):
    code = "not_found"


class Conflict(Refused):
    code = "conflict"


class Invalid(Refused):
    code = "invalid"


class Outage(Exception):
    """
    A system we depend on did not answer.

    `maybe_received` is false only where the request provably never reached it (connection refused).
    `retry_after` is in seconds, when the system asked for it.
    """

    def __init__(
        self,
        system: str,
        message: str = "is unavailable",
        *,
        retry_after: float | None = None,
        maybe_received: bool = True,
    ) -> None:
        super().__init__(f"{system} {message}")
        self.system = system
        self.retry_after = retry_after
        self.maybe_received = maybe_received


class Busy(Outage):
    """What is asked for has all hands full, and took nothing; `retry_after` says until when."""

    def __init__(self, system: str, *, retry_after: float) -> None:
        super().__init__(system, "is busy", retry_after=retry_after, maybe_received=False)
