"""The durable log: segments of columnar frames, their writer, their readers, and what may be removed."""
