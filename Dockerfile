# One image for every role: `koco serve`, `koco spool --block`, `koco temporal-worker`, `koco apps …`, `koco db --upgrade`,
# `ray start --head --block …`. The target `proxy` is what docker-compose.yml puts before the panels.
#
#   docker build -t kodosumi .
#
# What is installed is what requirements.lock says, by hash; `make lock` renews it.

FROM python:3.13-slim AS packages
# Where packages come from, for whoever has an index of their own: --build-arg PIP_INDEX_URL.
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
COPY requirements.lock ./
# Wheels only: nothing is compiled, so no compiler is needed anywhere.
RUN python3 -m venv /opt/kodosumi \
 && /opt/kodosumi/bin/pip install --quiet --require-hashes --no-deps --no-compile --only-binary :all: -r requirements.lock \
 # Parts of Ray that a service has no use for: Java and C++ interfaces, and the library for reinforcement learning.
 && (cd /opt/kodosumi/lib/python3.13/site-packages/ray && rm -rf jars cpp include rllib core/src/ray/raylet/*.debug) \
 # Containers can't write bytecode, and Ray starts processes all the time.
 && /opt/kodosumi/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/kodosumi/lib

FROM packages AS wheel
COPY requirements-build.lock ./
RUN python3 -m venv /opt/build && /opt/build/bin/pip install --quiet --require-hashes --no-deps -r requirements-build.lock
COPY pyproject.toml README.md LICENSE alembic.ini ./
COPY migrations migrations
COPY kodosumi kodosumi
RUN /opt/build/bin/python -m hatchling build --target wheel \
 && /opt/kodosumi/bin/pip install --quiet --no-deps --no-compile dist/*.whl \
 && /opt/kodosumi/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/kodosumi/lib/python3.13/site-packages/kodosumi

# The stack's own proxy: finds all panels by Docker's DNS. Debian's nginx, as nobody in particular.
FROM python:3.13-slim AS proxy
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends nginx-light > /dev/null \
 && rm -rf /var/lib/apt/lists/* /etc/nginx/sites-enabled /etc/nginx/sites-available
COPY container/proxy/ /etc/nginx/
USER www-data
EXPOSE 8080
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080"]
CMD ["nginx", "-g", "daemon off;"]

FROM python:3.13-slim AS kodosumi
# The same number everywhere, so that volumes fit; a home, since Ray keeps things there.
RUN echo 'kodosumi:x:1000:' >> /etc/group \
 && echo 'kodosumi:x:1000:1000::/home/kodosumi:/bin/bash' >> /etc/passwd \
 && install -d -o 1000 -g 1000 /home/kodosumi /data /agents
COPY --from=packages /opt/kodosumi /opt/kodosumi
COPY --from=wheel /opt/kodosumi/bin/koco /opt/kodosumi/bin/koco
COPY --from=wheel /opt/kodosumi/lib/python3.13/site-packages/kodosumi /opt/kodosumi/lib/python3.13/site-packages/kodosumi
COPY container/healthcheck /usr/local/bin/healthcheck
COPY examples /opt/examples
ENV PATH=/opt/kodosumi/bin:$PATH \
    PYTHONPATH=/agents:/opt/examples \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    # Alone in its container: whoever stops it has stopped what could be drained to.
    RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 \
    KODO_EXEC_DIR=/data/execution \
    KODO_UPLOAD_DIR=/data/uploads \
    KODO_ADMIN_DATABASE=sqlite+aiosqlite:////data/admin.db \
    # Docker keeps what a container says; a second copy in its file system would be lost with it.
    KODO_APP_LOG_FILE=/dev/null \
    KODO_SPOOLER_LOG_FILE=/dev/null \
    KODO_TEMPORAL_LOG_FILE=/dev/null
USER kodosumi
WORKDIR /data
EXPOSE 3370
HEALTHCHECK --interval=30s --timeout=20s --start-period=90s CMD ["healthcheck"]
CMD ["koco", "--help"]
