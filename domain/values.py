"""The frozen model that everything which crosses a boundary is made of."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """Immutable, compared by content, tolerant of fields it does not know (payloads evolve)."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def earliest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
