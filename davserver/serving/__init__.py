"""The processes that serve: supervisor and workers, certificates, reload, container."""
