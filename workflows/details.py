"""What the Temporal UI shows of an order under its details, in Markdown. No personal data."""

from __future__ import annotations

from domain.records import OrderState


def markdown(state: OrderState) -> str:
    parts = [f"**{state.status.value.replace('_', ' ')}**" + _because(state.reason)]
    parts += [f"- held: `{h.handle}` — {h.reason} (owner {h.owner})" for h in state.holds]
    for attention in state.attention:
        actions = ", ".join(f"`{option}`" for option in attention.options)
        parts.append(
            f"### Needs a decision: {attention.code}\n\n{attention.message}\n\n"
            f"Since {attention.since:%Y-%m-%d %H:%M} UTC. Fix the cause, then send the update "
            f'`resolve` with `{{"action": "{attention.options[0]}", "note": "why"}}` '
            f"(an empty body is `retry`). Possible: {actions}."
            + (f' Item: `"item": "{attention.item}"`.' if len(state.attention) > 1 else "")
        )
    for f in state.fulfillments:
        units = ", ".join(f"{lq.quantity}× {f.skus.get(lq.line_id, '?')}" for lq in f.lines)
        tracking = ", ".join(p.tracking_number for p in f.packages)
        parts.append(
            f"- `{f.fulfillment_id}` at **{f.node}**: {f.status.value}, request {f.request.value}; "
            + units
            + (f"; tracking {tracking}" if tracking else "")
            + (f"; pick up until {f.pickup_until:%Y-%m-%d %H:%M} UTC" if f.pickup_until else "")
            + _because(f.reason)
        )
    return "\n\n".join(parts)


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""
