"""Histories as they are kept: payloads as the JSON that they hold, and no word of this machine."""

from __future__ import annotations

import base64
import json
from typing import Any

from temporalio.client import WorkflowHistory

_PLAIN = base64.b64encode(b"json/plain").decode()


def written(history: WorkflowHistory) -> str:
    opened = _each(json.loads(history.to_json()), _opened)
    return json.dumps(opened, indent=1, ensure_ascii=False) + "\n"


def read(workflow_id: str, text: str) -> WorkflowHistory:
    return WorkflowHistory.from_json(workflow_id, _each(json.loads(text), _closed))


def _each(node: Any, change: Any) -> Any:
    if isinstance(node, list):
        return [_each(child, change) for child in node]
    if not isinstance(node, dict):
        return node
    changed = change(node)
    if changed is not node:
        return changed
    return {key: _each(child, change) for key, child in node.items()}


def _opened(node: dict[str, Any]) -> dict[str, Any]:
    if "stackTrace" in node:
        node["stackTrace"] = ""
    if "data" in node and node.get("metadata", {}).get("encoding") == _PLAIN:
        held = json.loads(base64.b64decode(node["data"]))
        return {"metadata": node["metadata"], "json": held}
    return node


def _closed(node: dict[str, Any]) -> dict[str, Any]:
    if "json" not in node:
        return node
    held = json.dumps(node["json"], ensure_ascii=False, separators=(",", ":"))
    return {"metadata": node["metadata"], "data": base64.b64encode(held.encode()).decode()}
