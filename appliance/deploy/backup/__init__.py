"""Backups: one file with everything, made while the appliance runs, and put back on a host of any size."""

from appliance.deploy.backup.archive import BackupError
from appliance.deploy.backup.create import Parts, create, verify, write
from appliance.deploy.backup.manifest import Manifest
from appliance.deploy.backup.restore import Restored, Target, restore

__all__ = ["BackupError", "Manifest", "Parts", "Restored", "Target", "create", "restore", "verify", "write"]
