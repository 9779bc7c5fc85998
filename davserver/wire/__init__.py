"""The HTTP edge: connections, heads and bodies as bytes (RFC 9112)."""
