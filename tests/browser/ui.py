"""The Temporal UI in the hands of a person: what they click, and what they read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

_DIALOG: Final = "[role=dialog][open], dialog[open]"


class Ui:
    """`url` is the UI's, of one namespace."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self._url = url

    # ---- signing in

    async def sign_in(self, api: str, key: str) -> None:
        """At our own API, with a key of scope ops."""
        await self.page.goto(f"{api}/login")
        await self.page.fill("#key", key)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.sees("Signed in with the key")

    async def use_codec(self, endpoint: str) -> None:
        """In the dialog behind the glasses; kept by the browser."""
        await self.page.goto(f"{self._url}/workflows")
        await self.page.locator("[data-testid^=data-encoder-status]").click()
        dialog = self.page.locator(_DIALOG).first
        await dialog.get_by_text("Use my browser setting").click()
        await dialog.get_by_role("textbox").fill(endpoint)
        await dialog.get_by_text("Include cross-origin credentials").click()
        await dialog.get_by_role("button", name="Apply").click()
        await dialog.wait_for(state="hidden")

    # ---- finding and reading

    async def find(self, query: str) -> None:
        """The list of the workflows that match; a bookmark of this form works."""
        await self.page.goto(f"{self._url}/workflows?query={quote(query)}")
        await self.page.get_by_role("button", name="Refresh").wait_for()

    def row(self, order_id: str) -> Locator:
        """The order in the list, by its link."""
        return self.page.get_by_role("link", name=f"order-{order_id}", exact=True)

    async def open(self, order_id: str, tab: str = "") -> None:
        await self.page.goto(f"{self._url}/workflows/order-{order_id}")
        await self._button("More Actions").wait_for()
        if tab:
            tabs = self.page.locator("a, button, [role=tab]").filter(has_text=tab)
            await tabs.locator("visible=true").first.click()

    async def sees(self, text: str) -> None:
        """Wait until it can be read."""
        await self.page.get_by_text(text).locator("visible=true").first.wait_for()

    async def details(self, order_id: str) -> str:
        """The current details, under User Metadata; the UI shows Markdown in a frame."""
        await self.open(order_id, "User Metadata")
        frame = self.page.frame_locator("iframe").last
        await frame.get_by_text("Fulfillments").wait_for()
        return str(await frame.locator("body").inner_text())

    # ---- acting

    async def send_update(self, name: str, data: str = "") -> Locator:
        """Send an update to the order that is open; its dialog closes where it is accepted."""
        dialog = await self._choose("Send an Update")
        await dialog.get_by_role("button", name="Select an Update").click()
        options = self.page.get_by_role("option").filter(has_text=name)
        await options.locator("visible=true").first.click()
        if data:
            await dialog.get_by_role("textbox", name="Data").click()
            await self.page.keyboard.insert_text(data)
            # The data is laid out anew when the field is left: the button moves.
            await dialog.get_by_text("Update ID").click()
            await self.page.wait_for_timeout(300)
        await dialog.get_by_role("button", name="Submit").click()
        return dialog

    async def request_cancellation(self) -> None:
        await self._button("Request Cancellation").click()
        await self._confirm(self.page.locator(_DIALOG).first, "Confirm")

    async def reset(self, *, last: bool) -> None:
        """To the first workflow task, or to the last."""
        dialog = await self._choose("Reset")
        await dialog.get_by_role("button").nth(1).click()
        tasks = dialog.get_by_role("option").filter(has_text="WorkflowTaskCompleted")
        await tasks.nth(-1 if last else 0).click()
        await self._confirm(dialog, "Confirm")

    async def terminate(self, reason: str) -> None:
        dialog = await self._choose("Terminate")
        await dialog.get_by_role("textbox").fill(reason)
        await self._confirm(dialog, "Terminate")

    async def _choose(self, action: str) -> Locator:
        await self._button("More Actions").click()
        items = self.page.get_by_role("menuitem", name=action, exact=True)
        await items.locator("visible=true").first.click()
        return self.page.locator(_DIALOG).first

    async def _confirm(self, dialog: Locator, word: str) -> None:
        await dialog.get_by_role("button", name=word, exact=True).click()
        await dialog.wait_for(state="hidden")

    def _button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name).locator("visible=true").first
