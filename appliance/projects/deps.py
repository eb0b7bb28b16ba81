"""What the handlers of project pages are given, by the names that app.py provides."""

from __future__ import annotations

from litestar.di import NamedDependency

from appliance.projects.service import ProjectService

Projects = NamedDependency[ProjectService]
