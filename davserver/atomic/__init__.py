"""Many requests as one change: all of what they do to disk and state stands, or nothing."""
