"""From spooled records to both stores: intent, decode, group, store, metadata, outbox."""
