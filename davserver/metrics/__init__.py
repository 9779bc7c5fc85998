"""Numbers about the running server, read at a listener of their own."""
