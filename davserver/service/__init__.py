"""Service routes, one module each: what is below `<prefix>/.davserver/` and no resource of the
served folder. Found by registry.py."""
