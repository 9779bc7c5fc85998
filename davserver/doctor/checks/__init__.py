"""What is examined: each check is a function that yields findings."""
