"""The protocol without I/O: bytes in, values out, bytes out (RFC 4918, RFC 9110)."""
