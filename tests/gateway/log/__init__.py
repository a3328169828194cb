"""Tests of gateway.log."""
