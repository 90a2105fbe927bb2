# One image for every Forkyard process; the command decides which one it is.

FROM python:3.13-slim AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/ requirements/
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --require-hashes -r requirements/runtime.txt \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY orchestrator/ orchestrator/
COPY workers/ workers/
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
 && /opt/venv/bin/pip install --no-deps /tmp/wheel/*.whl \
 && /opt/venv/bin/pip uninstall --yes pip

FROM python:3.13-slim
LABEL org.opencontainers.image.title="forkyard" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 forkyard \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin forkyard \
 && install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/forkyard
COPY --from=builder /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    FORKYARD_STATE_DIR=/var/lib/forkyard
WORKDIR /var/lib/forkyard
USER 10001:10001
CMD ["forkyard", "--help"]
