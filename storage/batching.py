"""
Many callers' reservations made in one transaction, so that a hot SKU costs one commit per batch.

While one batch commits the next one gathers: nobody waits for company, and the more callers there
are, the less each costs. This alone in the package opens transactions of its own.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import psycopg
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.errors import Outage, Refused
from domain.records import Change
from storage import backorders, records, taking
from storage.asks import Answer, Ask
from storage.database import outages, transaction

_FEW: Final = 64
_LARGEST: Final = 512
_TRIES: Final = 3
_PATIENCE: Final = 5.0  # seconds, after which what fails is not tried again

LeadsTo = Callable[[Answer], Change]


class Batcher:
    """
    The door to reservations, one for each process; several processes may share a database.

    Answers come when they are durable. Who came first is served first. A request that is refused,
    or cannot be, fails alone.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._quick = _Quick(engine)
        self._queue: deque[_Waiting] = deque()
        self._working: asyncio.Task[None] | None = None
        self._doubt = 0  # how many batches look after a wrong guess: more with each in a row
        self._looks = 0

    async def reserve(self, ask: Ask, leads_to: LeadsTo | None = None) -> Answer:
        """
        Take units as `reservations.reserve` does; what the answer leads to is written with it.

        Raises what that raises and what `records.apply` raises, or Outage("postgres"), after which
        it may be asked again: under its key it is done once.
        """
        waiting = _Waiting(ask, leads_to)
        self._queue.append(waiting)
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await waiting.answered

    async def close(self) -> None:
        """
        End what is under way; who waits is told of an outage, and finds under its key what was
        done.
        """
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])

    async def _work(self) -> None:
        """One batch after the other until nobody waits."""
        batch: list[_Waiting] = []
        try:
            while True:
                if not self._queue:
                    await asyncio.sleep(0)  # who was answered may have more to ask
                if not (batch := self._next()):
                    break
                await self._serve(batch)
        finally:
            self._working = None
            for waiting in (*batch, *self._queue):  # some only where this is cancelled
                waiting.settle(Outage("crossdock", "is going down"))
            self._queue.clear()
            await self._quick.close()

    def _next(self) -> "list[_Waiting]":
        """
        Those who came first: all of a few, half of many, so that the database is at work while the
        others are answered and come back. Nobody comes twice: who asks for what the batch asks for
        already is in the next one, and finds the answer.
        """
        batch: list[_Waiting] = []
        later: list[_Waiting] = []
        keys: set[str] = set()
        size = min(max(len(self._queue) // 2, _FEW), _LARGEST)
        while self._queue and len(batch) < size:
            waiting = self._queue.popleft()
            if waiting.answered.done():  # its caller has gone
                continue
            if keys.isdisjoint(waiting.keys):
                keys.update(waiting.keys)
                batch.append(waiting)
            else:
                later.append(waiting)
        self._queue.extendleft(reversed(later))
        return batch

    async def _serve(self, batch: "Sequence[_Waiting]") -> None:
        """Answer each of them, whatever happens. What fails as a whole is tried in halves."""
        error = await self._failure(batch)
        if error is None:
            return
        if len(batch) > 1 and not isinstance(error, Outage):
            half = len(batch) // 2
            await self._serve(batch[:half])
            await self._serve(batch[half:])
            return
        for waiting in batch:
            waiting.settle(error)

    async def _failure(self, batch: "Sequence[_Waiting]") -> Exception | None:
        """None where all are answered. What others undid, by a deadlock or a crash, is redone."""
        clock = asyncio.get_running_loop().time
        until = clock() + _PATIENCE
        for attempt in range(1, _TRIES + 1):
            try:
                async with outages():
                    await self._make([w for w in batch if not w.answered.done()])
            except (Outage, IntegrityError) as error:
                if attempt == _TRIES or clock() > until:
                    return error
            except Exception as error:  # noqa: BLE001 - whatever it is, one of them has brought it
                return error
            else:
                break
        return None

    async def _make(self, batch: "Sequence[_Waiting]") -> None:
        """
        The transaction. Where stock is plenty and nothing held back a guess will do; the more of
        them are wrong in a row, the more batches look first.
        """
        if not batch:
            return
        asks = [waiting.ask for waiting in batch]
        answers: Sequence[Answer | Refused] | None = None
        if all(waiting.simple for waiting in batch):
            answers = await self._guess(asks)
        if answers is None:
            try:
                answers = await self._look(batch)
            except _Barred as barred:
                for waiting, refusal in barred.refused:
                    waiting.settle(refusal)
                await self._make([w for w in batch if not w.answered.done()])
                return
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.settle(answer)

    async def _guess(self, asks: Sequence[Ask]) -> Sequence[Answer] | None:
        if self._looks:
            self._looks -= 1
            return None
        answers = await self._quick.guess(asks)
        self._doubt = min(2 * self._doubt + 1, _FEW) if answers is None else 0
        self._looks = self._doubt
        return answers

    async def _look(self, batch: "Sequence[_Waiting]") -> "Sequence[Answer | Refused]":
        async with transaction(self._engine) as conn:
            asks = [waiting.ask for waiting in batch]
            answers = await backorders.settle(conn, asks, await taking.look(conn, asks))
            changes = [
                (waiting, waiting.leads_to(answer))
                for waiting, answer in zip(batch, answers, strict=True)
                if waiting.leads_to is not None and not isinstance(answer, Refused)
            ]
            no = await records.apply_all(conn, [change for _, change in changes])
            refused = [(w, no[c.state.order_id]) for w, c in changes if c.state.order_id in no]
            if refused:
                raise _Barred(refused)
        return answers


class _Waiting:
    """A caller, until it is answered."""

    __slots__ = ("answered", "ask", "keys", "leads_to", "simple")

    def __init__(self, ask: Ask, leads_to: LeadsTo | None) -> None:
        self.ask = ask
        self.leads_to = leads_to
        self.simple = leads_to is None and ask.node is None
        self.simple &= ask.takes_over is None and not ask.kits and not ask.waits
        name = ask.reservation_id
        self.keys = (name,) if leads_to is None else (name, f"record of {ask.order_id}")
        self.answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def settle(self, outcome: Answer | Exception) -> None:
        if self.answered.done():  # it has gone
            return
        if isinstance(outcome, Exception):
            self.answered.set_exception(outcome)
        else:
            self.answered.set_result(outcome)


class _Barred(Exception):
    """Whose records may not be written, so that nothing is: what stands there says otherwise."""

    def __init__(self, refused: "Sequence[tuple[_Waiting, Refused]]") -> None:
        super().__init__()
        self.refused = refused


class _Quick:
    """The driver's own connection, which commits by itself; kept while there is work."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._conn: AsyncConnection | None = None
        self._cursor: psycopg.AsyncCursor[Any] | None = None

    async def guess(self, asks: Sequence[Ask]) -> list[Answer] | None:
        if self._conn is None or self._cursor is None:
            engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
            self._conn = await engine.connect()
            raw = await self._conn.get_raw_connection()
            driver = cast("psycopg.AsyncConnection[Any]", raw.driver_connection)
            self._cursor = driver.cursor()
        try:
            return await taking.guess(self._cursor, asks)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            await self._conn.invalidate(error)
            await self.close()
            raise Outage("postgres", f"is unavailable: {error}") from error

    async def close(self) -> None:
        conn, self._conn, self._cursor = self._conn, None, None
        if conn is not None:
            await conn.close()
