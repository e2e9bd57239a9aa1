"""Counts what a GraphQL call costs, and keeps the leaky bucket that it is paid from."""

import time
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
)

MUTATION_COST = 10


class Bucket:
    """Holds twenty seconds' worth of points. Forgotten when the process ends, as a limit may be."""

    def __init__(self, restore_rate: int) -> None:
        self.restore_rate, self.most = restore_rate, restore_rate * 20
        self._points, self._at = float(self.most), time.monotonic()

    def available(self) -> int:
        now = time.monotonic()
        self._points = min(self._points + (now - self._at) * self.restore_rate, self.most)
        self._at = now
        return int(self._points)

    def take(self, points: int) -> None:
        self.available()
        self._points -= points


class _Estimate:
    def __init__(self, document: DocumentNode, variables: dict[str, Any]) -> None:
        self._variables = variables
        self._fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }

    def of(self, selected: SelectionSetNode | None) -> int:
        total = 0
        for node in selected.selections if selected else ():
            if isinstance(node, FieldNode) and node.selection_set:
                total += 1 + self._size(node) * self.of(node.selection_set)
            elif isinstance(node, InlineFragmentNode):
                total += self.of(node.selection_set)
            elif isinstance(node, FragmentSpreadNode):
                fragment = self._fragments.get(node.name.value)
                total += self.of(fragment.selection_set) if fragment else 0
        return total

    def _size(self, node: FieldNode) -> int:
        for argument in node.arguments or ():
            if argument.name.value == "first":
                if isinstance(argument.value, IntValueNode):
                    return int(argument.value.value)
                if isinstance(argument.value, VariableNode):
                    return int(self._variables.get(argument.value.name.value) or 1)
        return 1


def requested(document: DocumentNode, variables: dict[str, Any]) -> int:
    """Points by the question: objects cost 1, connections by `first`, mutations 10 more."""
    estimate = _Estimate(document, variables)
    operations = [
        node for node in document.definitions if isinstance(node, OperationDefinitionNode)
    ]
    is_mutation = any(node.operation is OperationType.MUTATION for node in operations)
    points = sum(estimate.of(node.selection_set) for node in operations)
    return points + (MUTATION_COST if is_mutation else 0)


def actual(result: Any) -> int:
    """Points by the answer: the objects in it."""
    if isinstance(result, dict):
        return 1 + sum(actual(part) for part in result.values())
    return sum(actual(part) for part in result) if isinstance(result, list) else 0
