"""One file a later RFC. Each offers EXTENSION, an Extension record."""
