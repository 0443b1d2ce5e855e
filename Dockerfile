FROM python:3.11-slim AS builder
WORKDIR /src
COPY deploy/requirements.txt deploy/requirements-build.txt deploy/
RUN python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install --no-cache-dir --require-hashes --requirement deploy/requirements.txt \
 && pip install --no-cache-dir --require-hashes --requirement deploy/requirements-build.txt
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /venv/bin/python install --no-cache-dir --no-deps dist/*.whl

FROM python:3.11-slim
RUN pip uninstall --yes --quiet --root-user-action=ignore setuptools wheel pip \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin gateway \
 && install --directory --owner=10001 --group=10001 --mode=700 /data
COPY --from=builder /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 GATEWAY_DATA_DIR=/data
USER 10001:10001
VOLUME /data
EXPOSE 8302
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8302/livez', timeout=3)"]
ENTRYPOINT ["gateway302"]
CMD ["serve", "--host", "0.0.0.0"]
