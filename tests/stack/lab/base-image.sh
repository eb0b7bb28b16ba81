#!/bin/bash
# base-image.sh TAG CACHE_DIR   makes a local stand-in for python:3.13-slim, where no image registry can be reached:
# Debian trixie with its python3.13, put together by mmdebstrap and read in by `docker import`. Needs root and DOCKER_HOST.
# The archive is kept in CACHE_DIR; delete it to make it anew. The image holds this machine's own trust store and pip
# settings, so that an unmodified Dockerfile reaches the package index as this machine does: it must never leave it.
set -euo pipefail
tag=$1 cache=$2
mkdir -p "$cache"
archive=$cache/trixie.tar
# python and pip as in the official image; ca-certificates and tini are there so that building needs fewer downloads.
packages=python3,python3-venv,python3-pip,ca-certificates,tini
if [ ! -s "$archive" ]; then
  mmdebstrap --quiet --variant=minbase --mode=root --include="$packages" \
    --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --format=tar trixie "$archive.part"
  mv "$archive.part" "$archive"
fi
context=$(mktemp -d "$cache/context.XXXXXX")
trap 'rm -rf "$context"' EXIT
cp /etc/ssl/certs/ca-certificates.crt "$context/"
if [ -f /etc/pip.conf ]; then cp /etc/pip.conf "$context/"; else : >"$context/pip.conf"; fi
printf '[global]\ntimeout = 180\nretries = 5\n' >"$context/pip-timeout.conf"
docker import --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
  --change 'ENV LANG=C.UTF-8' --change 'CMD ["python3"]' "$archive" "$tag-raw" >/dev/null
cat >"$context/Dockerfile" <<DOCKERFILE
FROM $tag-raw
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY pip.conf /etc/pip.conf
COPY pip-timeout.conf /root/.config/pip/pip.conf
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
RUN ln -sf /usr/bin/python3 /usr/local/bin/python && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
DOCKERFILE
DOCKER_BUILDKIT=0 docker build --quiet --tag "$tag" "$context"
