"""The sample fleet of `gateway demo`: five services with real OpenTelemetry SDKs, their past, and faults."""
