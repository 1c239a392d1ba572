# The loader as a daemon: `docker build -t sensor-loader .`; docs/deploy.md says how it is run.
# To build behind a package mirror: --secret id=pip.conf,src=FILE (and ca.pem, which that file may
# name as `cert = /run/secrets/ca.pem`). Neither ends up in a layer.
ARG PYTHON=python:3.13-slim-trixie

# What the lock names, its hashes checked here, and a virtual environment of what the loader imports
# of it. A change of the code leaves this stage, and its layer in the image, as they are.
FROM ${PYTHON} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem \
    --mount=type=cache,target=/root/.cache/pip \
    pip download --quiet --require-hashes --only-binary :all: --dest wheels -r requirements.lock
COPY pyproject.toml ./
# From the checked wheels alone. The lock also holds what builds the package: that stays behind.
RUN python -m venv --without-pip /opt/venv \
 && python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" >direct.txt \
 && pip --python /opt/venv/bin/python install --quiet --no-cache-dir --no-compile --no-index --find-links wheels -r direct.txt \
 && find /opt/venv -depth -type d -name tests -exec rm -rf {} + \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib

FROM dependencies AS package
COPY . .
RUN pip wheel --quiet --no-deps --no-index --find-links wheels --wheel-dir built . \
 && pip --python /opt/venv/bin/python install --quiet --no-cache-dir --no-compile --no-deps --no-index --root /root-of-package built/*.whl \
 && python -m compileall -q --invalidation-mode unchecked-hash -s /root-of-package -p / /root-of-package

FROM ${PYTHON}
# The standard library comes without bytecode, and a read-only container could not keep any: without
# this every `loader health` would compile what it imports.
# Nothing is installed in a running container. The number of the user is fixed: volumes hold it.
RUN python -m compileall -q -x 'site-packages|dist-packages|ensurepip|idlelib|tkinter' \
      "$(python -c "import sysconfig; print(sysconfig.get_path('stdlib'))")" \
 && python -c "import ensurepip, pip, shutil; [shutil.rmtree(m.__path__[0]) for m in (ensurepip, pip)]" \
 && rm -f /usr/local/bin/pip* /usr/bin/pip* \
 && groupadd --gid 10001 loader \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /app/state --shell /usr/sbin/nologin loader \
 && install -d -o loader -g loader -m 700 /app/state
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=package /root-of-package/opt/venv /opt/venv
# The heartbeat lies on a tmpfs, so that one of an earlier process is never taken for this one's.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LOADER_LISTEN=0.0.0.0:8080 \
    LOADER_AWAIT_CONFIG=1 \
    LOADER_HEARTBEAT=/tmp/heartbeat.json
WORKDIR /app
USER 10001:10001
VOLUME /app/state
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=10s --start-period=15s --retries=3 CMD ["loader", "health"]
ENTRYPOINT ["loader"]
CMD ["daemon"]

ARG VERSION=0
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="sensor-loader" \
      org.opencontainers.image.description="A scheduled, incremental loader for sensor readings" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
