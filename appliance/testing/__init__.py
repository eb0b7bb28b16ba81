"""What plugin authors test with: conformance suites, a reference store, fake clock, captured HTTP."""
