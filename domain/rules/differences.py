"""What changed from one version of a rule set to another, part by part, by the parts' names."""

from __future__ import annotations

from typing import Any, Literal

from domain.rules.sets import RuleSet
from domain.values import Value


class Difference(Value):
    """
    One change. `path` names the part, such as `profiles[web].rules[near].value`; `before` is None
    where it was added, `after` where it was removed; `moved` gives both orders of names.
    """

    path: str
    change: Literal["added", "removed", "changed", "moved"]
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        if self.change == "added":
            return f"+ {self.path}: {_told(self.after)}"
        if self.change == "removed":
            return f"- {self.path}: {_told(self.before)}"
        return f"~ {self.path}: {_told(self.before)} → {_told(self.after)}"


def differences(before: RuleSet, after: RuleSet) -> tuple[Difference, ...]:
    """All changes; none where the two say the same."""
    return tuple(_of("", before.model_dump(mode="json"), after.model_dump(mode="json")))


def _of(path: str, before: Any, after: Any) -> list[Difference]:
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            found
            for name in {**before, **after}
            for found in _part(f"{path}.{name}".strip("."), name, before, after)
        ]
    if _named(before) and _named(after) and (before or after):
        return _of_named(path, before, after)
    return [Difference(path=path, change="changed", before=before, after=after)]


def _part(path: str, name: str, before: dict[str, Any], after: dict[str, Any]) -> list[Difference]:
    if name not in before:
        return [Difference(path=path, change="added", after=after[name])]
    if name not in after:
        return [Difference(path=path, change="removed", before=before[name])]
    return _of(path, before[name], after[name])


def _of_named(path: str, before: list[Any], after: list[Any]) -> list[Difference]:
    old = {one["name"]: one for one in before}
    new = {one["name"]: one for one in after}
    found = [
        change for name in {**old, **new} for change in _part(f"{path}[{name}]", name, old, new)
    ]
    stayed, now = [n for n in old if n in new], [n for n in new if n in old]
    if stayed != now:
        found.append(Difference(path=path, change="moved", before=stayed, after=now))
    return found


def _named(parts: Any) -> bool:
    return isinstance(parts, list) and all(isinstance(p, dict) and "name" in p for p in parts)


def _told(value: Any) -> str:
    if isinstance(value, dict):
        said = (
            f"{name} {_told(part)}" for name, part in value.items() if part not in (None, "", [])
        )
        return "{" + ", ".join(said) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_told(part) for part in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value not in (None, "") else "nothing"
