"""What the Temporal UI shows of an order under its details, in Markdown. No personal data."""

from __future__ import annotations

from domain.fulfillments import Fulfillment, RequestStatus
from domain.records import Attention, OrderState


def markdown(state: OrderState) -> str:
    """What waits for a person comes first, with the words that resolve it."""
    several = len(state.attention) > 1
    parts = [f"## {_words(state.status.value)}{_because(_words(state.reason))}"]
    parts += [_decision(attention, named=several) for attention in state.attention]
    if state.holds:
        parts.append("### On hold\n\nSend the update `release_hold` once it may go on.")
        parts += [f"- `{hold.handle}`: {hold.reason} (owner {hold.owner})" for hold in state.holds]
    if state.fulfillments:
        parts.append("### Fulfillments")
        parts += [_fulfillment(f) for f in state.fulfillments]
    return "\n\n".join(parts)


def _decision(attention: Attention, *, named: bool) -> str:
    which = f', "item": "{attention.item}"' if named else ""
    bodies = [
        f'- `{{"action": "{option}"{which}, "note": "why"}}`'
        + (" or nothing at all" if option == "retry" and not named else "")
        for option in attention.options
    ]
    return (
        f"### Needs a decision: {_words(attention.code)}\n\n{attention.message}\n\n"
        f"Waits since {attention.since:%Y-%m-%d %H:%M} UTC. To decide, choose *More Actions*, "
        "*Send an Update*, `resolve`, and as its data one of\n\n" + "\n".join(bodies)
    )


def _fulfillment(f: Fulfillment) -> str:
    units = ", ".join(f"{lq.quantity} × {f.skus.get(lq.line_id, '?')}" for lq in f.lines)
    tracking = ", ".join(p.tracking_number for p in f.packages)
    return (
        f"- `{f.fulfillment_id}` at **{f.node}**: {units}; {_words(f.status.value)}, "
        f"request {_words(f.request.value)}"
        + (f"; given to it at {f.release_at:%Y-%m-%d %H:%M} UTC" if _waits(f) else "")
        + (f"; tracking {tracking}" if tracking else "")
        + (f"; pick up until {f.pickup_until:%Y-%m-%d %H:%M} UTC" if f.pickup_until else "")
        + _because(f.reason)
    )


def _waits(f: Fulfillment) -> bool:
    return f.release_at is not None and f.request is RequestStatus.UNSUBMITTED


def _words(code: str) -> str:
    return code.replace("_", " ")


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""
