FROM python:3.12-slim

COPY pyproject.toml README.md /src/
COPY davserver /src/davserver
RUN pip install --no-cache-dir '/src[metrics,tls]' && rm -rf /src
RUN mkdir /data /state && chown 1000:1000 /data /state

# The image starts as root only to become PUID:PGID (1000:1000), before anything is opened. With
# `--user` it stays that user. Settings: DAVSERVER_<NAME>.
ENV DAVSERVER_CONTAINER=1 DAVSERVER_STATE=/state PYTHONUNBUFFERED=1
VOLUME ["/data", "/state"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["python", "-m", "davserver.serving.container"]

ENTRYPOINT ["davserver"]
CMD ["serve", "/data", "--host", "0.0.0.0"]
