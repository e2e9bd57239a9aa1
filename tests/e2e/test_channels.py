"""A running installation takes up a channel that is added over the API, and lets it go again."""

from temporalio.client import Client
from temporalio.service import RPCError

from tests.e2e.conftest import Operator


async def test_a_polled_channel_is_taken_up_and_let_go_while_all_runs(operator: Operator) -> None:
    settings = operator.demo.settings
    temporal = await Client.connect(
        settings["CROSSDOCK_TEMPORAL_ADDRESS"], namespace=settings["CROSSDOCK_TEMPORAL_NAMESPACE"]
    )

    async def scheduled() -> bool:
        try:
            await temporal.get_schedule_handle("poll-later").describe()
        except RPCError:
            return False
        return True

    async def there() -> bool | None:
        return await scheduled() or None

    async def gone() -> bool | None:
        return not await scheduled() or None

    channel = {"kind": "magento", "url": "http://127.0.0.1:1"}
    await operator.sends("PUT", "/v1/channels/later", channel)
    await operator.waits(there, "the schedule of the new channel")
    await operator.sends("PUT", "/v1/channels/later", {"kind": "api"})
    await operator.waits(gone, "the end of the schedule")
