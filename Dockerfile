# Jalur in an image: `docker build -t jalur .` here. deploy/compose.yaml shows it with its servers;
# `make rehearse` runs these steps where there is no Docker.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_COMPILE=1
WORKDIR /build
RUN python -m venv /opt/jalur
# The packages before the code, which changes more often. There is no compiler: wheels only.
COPY requirements-runtime.lock ./
RUN /opt/jalur/bin/python -m pip install --no-deps --only-binary=:all: --require-hashes \
        -r requirements-runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas ./schemas
COPY routing ./routing
COPY dealers ./dealers
COPY migrations ./migrations
COPY app ./app
RUN /opt/jalur/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/jalur/bin/python -m pip install --no-deps --no-index dist/*.whl \
    && /opt/jalur/bin/python -m compileall -q /opt/jalur/lib \
    && /opt/jalur/bin/python -m pip uninstall --quiet --yes pip setuptools

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Jalur" \
      org.opencontainers.image.description="Host-to-host router for prepaid top-ups" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 jalur \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/jalur --create-home \
        --shell /usr/sbin/nologin jalur
COPY --from=build /opt/jalur /opt/jalur
ENV PATH=/opt/jalur/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    JALUR_HOST=0.0.0.0 \
    JALUR_PORT=8080 \
    JALUR_DATA_DIR=/var/lib/jalur/demo
USER 10001:10001
WORKDIR /var/lib/jalur
EXPOSE 8080
STOPSIGNAL SIGTERM
# Alive, not ready: whoever restarts the unhealthy must not do so because the database is away.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; probe = http.client.HTTPConnection('127.0.0.1', int(os.environ['JALUR_PORT']), timeout=4); probe.request('GET', '/livez'); sys.exit(probe.getresponse().status != 200)"]
ENTRYPOINT ["jalur"]
CMD ["serve"]
