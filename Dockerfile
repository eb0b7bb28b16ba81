# The image of the appliance: every service of ours runs it, and so does the `condev` command on the host.
#
#   docker build --tag condev-monitor:0.1.0 .
#   docker build --build-arg BASE_IMAGE=registry.example.com/python:3.13-slim --tag condev-monitor:0.1.0 .
#
# Another architecture: the same, with --platform or on a machine of that kind; nothing here names one. The classic
# builder is enough: no `# syntax=` line (it would be pulled) and no `RUN --mount`.
# BASE_IMAGE: Python 3.13 on Debian. By digest, if builds have to be repeatable to the last package of Debian.
ARG BASE_IMAGE=python:3.13-slim

# ── dependencies: wheels only, against the hashes of two locks (`make lock` writes them) ──
FROM ${BASE_IMAGE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements-build.lock ./
RUN python -m venv /build \
    && /build/bin/pip install --quiet --no-deps --no-compile --require-hashes --only-binary :all: -r requirements-build.lock
# dkimpy is the exception: published as source alone. It is pure Python, and nothing is compiled.
COPY requirements.lock ./
RUN /build/bin/pip wheel --quiet --no-deps --no-build-isolation --require-hashes \
      --only-binary :all: --no-binary dkimpy --wheel-dir /wheels -r requirements.lock \
    && python -m venv /app \
    && /app/bin/pip install --quiet --no-index --no-deps /wheels/*.whl \
    && rm -r /wheels

# ── ours: a layer of its own, so that an upgrade downloads a few megabytes and not all of the above again ──
FROM dependencies AS ours
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY sdk sdk
COPY examples examples
COPY plugins plugins
COPY appliance appliance
# hatch_build.py installs and bundles the dashboard's npm packages with the Node that came as a wheel.
RUN /build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /app/bin/pip install --quiet --no-index --no-deps --prefix /ours /wheels/*.whl \
    && cp -a /ours/. /app/ \
    && /build/bin/cyclonedx-py environment --output-format JSON --output-file /ours/sbom.json /app/bin/python

# ── what runs ──
FROM ${BASE_IMAGE}
# tini reaps what plugins and Compose leave behind and hands on SIGTERM. Debian's own version: the base image decides it.
# hadolint ignore=DL3008
RUN if ! command -v tini >/dev/null; then \
      apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*; \
    fi \
    && groupadd --gid 10001 condev \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin condev \
    && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=dependencies /app /app
COPY --from=ours /ours /app
# `condev` and `condev-uninstall` for the host, and what writes them there: installer.sh runs it.
COPY appliance/deploy/host_commands /app/host-commands
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Condev Monitor" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# HOME: nothing of ours is written there; a library that looks for it must not find root's.
ENV PATH=/app/bin:$PATH \
    HOME=/tmp \
    TZ=UTC \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    MALLOC_TRIM_THRESHOLD_=131072 \
    CONDEV_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
EXPOSE 8000 8001
STOPSIGNAL SIGTERM
# By role: core, all and web answer on 8000, ingest on 8001. Without the site module it starts in 20 ms.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-ISc", "import socket as s\nfor p in (8000, 8001):\n  try:\n    c = s.create_connection(('127.0.0.1', p), 2)\n    c.sendall(b'GET /healthz HTTP/1.0\\r\\n\\r\\n')\n    if b' 200 ' in c.recv(64): raise SystemExit(0)\n  except OSError: pass\nraise SystemExit(1)"]
ENTRYPOINT ["tini", "--", "condev"]
CMD ["serve", "--host", "0.0.0.0"]
