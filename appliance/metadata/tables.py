"""All tables of all nouns, imported for their effect on `Base.metadata`: what Alembic and tests need."""

from appliance.accounts import models as accounts
from appliance.alerts import models as alerts
from appliance.issues import models as issues
from appliance.metadata.database import Base
from appliance.pipeline import models as pipeline
from appliance.projects import models as projects
from appliance.system import models as system

__all__ = ["Base", "accounts", "alerts", "issues", "pipeline", "projects", "system"]
