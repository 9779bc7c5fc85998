"""Live properties: records collected by the registry, rendered by a compiled plan."""
