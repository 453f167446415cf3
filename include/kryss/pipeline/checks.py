"""Whether a release is plausible against the one before it. Thin on purpose: counts only, with the numbers in the message."""

from __future__ import annotations

from collections.abc import Mapping

MIN_OBJECTS = 20
"""Below this many standing objects before, a share says nothing."""
MAX_LOST_SHARE = 0.3
MAX_GROWTH = 3.0
"""Growth is only suspicious where the number of photos looked at did not grow alike."""


class HeldBack(Exception):  # noqa: N818 - it is a verdict, not a fault
    """The release is implausible; the message has the numbers and the way to publish all the same."""


def plausible(before: Mapping[str, int], now: Mapping[str, int], photos_before: int, photos_now: int) -> list[str]:
    """Reasons to hold a release back: standing objects by class, before and now. Empty: publish."""
    total_before, total_now = sum(before.values()), sum(now.values())
    reasons = []
    if total_before >= MIN_OBJECTS:
        if total_now < (1 - MAX_LOST_SHARE) * total_before:
            reasons.append(f"standing objects fell from {total_before} to {total_now} (limit {MAX_LOST_SHARE:.0%} a night)")
        growth = total_now / total_before
        looked = max(photos_now, 1) / max(photos_before, 1)
        if growth > MAX_GROWTH * max(looked, 1.0):
            reasons.append(
                f"standing objects rose from {total_before} to {total_now} while photos rose from {photos_before} to {photos_now}"
            )
    for name in sorted(set(before) | set(now)):
        was, is_ = before.get(name, 0), now.get(name, 0)
        if was >= MIN_OBJECTS and is_ < (1 - MAX_LOST_SHARE) * was:
            reasons.append(f"{name} fell from {was} to {is_}")
    return reasons
