"""Tests of gateway.series."""
