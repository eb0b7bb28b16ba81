"""The durable queue on disk between a 2xx and the stores."""
