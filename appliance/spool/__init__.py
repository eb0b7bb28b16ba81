"""The durable queue on disk between a 2xx and the stores."""

from appliance.spool.framing import Position, SpoolRange
from appliance.spool.layout import Damage, SpoolBusyError, SpoolError, SpoolFailedError, SpoolFullError
from appliance.spool.reader import SpoolDepth, SpoolReader, read_records
from appliance.spool.record import (
    DropCount,
    Spooled,
    SpooledDrops,
    SpooledRecord,
    SpooledRecordError,
    decode_record,
    encode_record,
)
from appliance.spool.writer import SpoolWriter

__all__ = [
    "Damage", "DropCount", "Position", "SpoolBusyError", "SpoolDepth", "SpoolError", "SpoolFailedError",
    "SpoolFullError", "SpoolRange", "SpoolReader", "SpoolWriter", "Spooled", "SpooledDrops", "SpooledRecord",
    "SpooledRecordError", "decode_record", "encode_record", "read_records",
]  # fmt: skip
