"""A sender that costs far less than what it sends to: bodies are built once and patched for each request."""
