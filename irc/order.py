"""A linked list that knows, in O(1), which of two members stands first.

    Order ::= members, each linked to its neighbours, with positions that grow along the list
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Self, TypeVar

_GAP = 1 << 40  # between the positions of neighbours at the ends


class Linked:
    """A member of an `Order`; only that writes these fields, except that the owner sets `removed`."""

    __slots__ = ("following", "position", "preceding", "removed")

    def __init__(self) -> None:
        self.preceding: Self | None = None
        self.following: Self | None = None
        self.position = 0
        self.removed = False


M = TypeVar("M", bound=Linked)


class Order(Generic[M]):
    """The list. Iterating tolerates that the member at hand is removed, and that others are put in."""

    def __init__(self) -> None:
        self.first: M | None = None
        self.last: M | None = None

    def __iter__(self) -> Iterator[M]:
        member = self.first
        while member is not None:
            yield member
            member = member.following  # a removed member still knows what followed it
            while member is not None and member.removed:
                member = member.following

    def __reversed__(self) -> Iterator[M]:
        member = self.last
        while member is not None:
            yield member
            member = member.preceding
            while member is not None and member.removed:
                member = member.preceding

    def unlink(self, member: M) -> None:
        """Take the member out."""
        before, after = member.preceding, member.following
        if before is None:
            self.first = after
        else:
            before.following = after
        if after is None:
            self.last = before
        else:
            after.preceding = before

    def link(self, member: M, behind: M | None) -> None:
        """Put the member behind another, first if that is None, with a position between its neighbours'."""
        following = self.first if behind is None else behind.following
        member.preceding, member.following = behind, following
        if behind is None:
            self.first = member
        else:
            behind.following = member
        if following is None:
            self.last = member
        else:
            following.preceding = member
        if behind is None:
            member.position = following.position - _GAP if following is not None else 0
        elif following is None:
            member.position = behind.position + _GAP
        else:
            member.position = (behind.position + following.position) // 2
            if member.position == behind.position:
                self._spread(member, behind.position)

    def _spread(self, member: M, low: int) -> None:
        """Give `member`, which stands behind `low` without room, and those that follow it positions farther apart.

        As many are moved as it takes to find k of them within more than k² (Dietz and Sleator 1987, "Two algorithms for
        maintaining order in a list", section 2): O(log n) an insertion, however many go to the same place.
        """
        moved, end = [member], member.following
        while end is not None and end.position - low <= (len(moved) + 1) ** 2:
            moved.append(end)
            end = end.following
        room = end.position - low if end is not None else _GAP * (len(moved) + 1)
        for index, each in enumerate(moved, 1):
            each.position = low + room * index // (len(moved) + 1)
