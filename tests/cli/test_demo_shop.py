"""The demo asks again where the API says that it may."""

import httpx
import pytest
from fastapi import FastAPI, Response

from cli.demo_shop import Shop
from domain.errors import Refused


def shop(*answers: int) -> tuple[Shop, list[int]]:
    """At an API that gives these answers in turn; and those that it has not given yet."""
    app, left = FastAPI(), list(answers)

    @app.post("/v1/nodes/{code}/{way}")
    def _(code: str, way: str, response: Response) -> dict[str, str]:
        response.status_code = left.pop(0)
        response.headers["Retry-After"] = "0"
        return {code: way}

    http = httpx.AsyncClient(transport=httpx.ASGITransport(app))
    return Shop(http, "http://partners", "token", "http://api", "key"), left


@pytest.mark.parametrize("answers", [(200,), (503, 503, 200), (503, 409)])
async def test_a_busy_api_is_asked_again(answers: tuple[int, ...]) -> None:
    """A conflict then says that it was done the first time."""
    ours, left = shop(*answers)
    await ours.node("DC-DAL", "down")
    assert left == []


@pytest.mark.parametrize("answers", [(409,), (422,), (503, 500), (503,) * 13])
async def test_what_is_refused_ends_the_demo(answers: tuple[int, ...]) -> None:
    ours, left = shop(*answers)
    with pytest.raises(Refused, match=str(answers[-1])):
        await ours.node("DC-DAL", "down")
    assert left == []
