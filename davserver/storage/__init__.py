"""Where resources live: the Storage seam and its backends."""
