"""Load and faults against the real program, with a ledger that says exactly what was kept."""
