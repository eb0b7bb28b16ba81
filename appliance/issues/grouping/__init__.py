"""Which events are one problem: a 64-bit hash of what they have in common, with the reasons.

Pure and light: it runs in the decode worker, on every event. A change in what is hashed is a new version beside the
old one, since hashes lead to issues for life: `issue_hashes` carries the version. Not for issues themselves: see
`appliance.issues.recording`.
"""

from __future__ import annotations

from appliance.issues.grouping.frames import is_in_app
from appliance.issues.grouping.result import Grouping, GroupingPart, WhyGrouped, read_explanation
from appliance.issues.grouping.version1 import VERSION, group

__all__ = ["VERSION", "Grouping", "GroupingPart", "WhyGrouped", "group", "is_in_app", "read_explanation"]
