"""One file a method. Each offers METHODS, a tuple of Method records."""
