# Beacon in a container: `docker run -e API_TOKEN=... -v beacon:/data -p 8000:8000 beacon`
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/beacon
WORKDIR /build
COPY requirements.txt .
RUN /opt/beacon/bin/pip install --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY service service
RUN /opt/beacon/bin/pip install --no-deps --no-build-isolation .

FROM python:3.13-slim
# ffmpeg and cwebp turn videos and stickers into what WhatsApp accepts
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ffmpeg webp \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin beacon \
    && install --directory --owner beacon --group beacon --mode 0700 /data
COPY --from=build /opt/beacon /opt/beacon
ENV PATH=/opt/beacon/bin:$PATH PYTHONUNBUFFERED=1 DATA_DIR=/data PORT=8000 LOG_FORMAT=json
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/livez', timeout=4)"]
CMD ["beacon", "run"]
