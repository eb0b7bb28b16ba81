"""Rules, channels, the outbox and its deliveries."""
