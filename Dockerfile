# The production image of Kryss: one for all of Airflow's processes and both kinds of worker (see docker-compose.yml).
FROM python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

ENV AIRFLOW_HOME=/var/lib/kryss/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/kryss/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/kryss/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    KRYSS_HOME=/var/lib/kryss \
    PYTHONPATH=/opt/kryss/include:/opt/kryss/plugins \
    PYTHONUNBUFFERED=1 \
    SCARF_ANALYTICS=false

WORKDIR /opt/kryss

# The pins change less often than the code: a layer of their own.
COPY requirements-uv.txt requirements-celery.txt ./
RUN pip install --no-cache-dir --require-hashes -r requirements-uv.txt \
    && uv pip install --system --no-cache --require-hashes -r requirements-celery.txt

# One user without a password; volumes take over the ownership of the folders they are mounted on.
RUN useradd --system --uid 50000 --gid 0 --home-dir /var/lib/kryss --shell /usr/sbin/nologin kryss \
    && install -d -o kryss -g 0 -m 0750 /var/lib/kryss /var/lib/kryss/airflow /var/lib/kryss/airflow/logs /var/lib/kryss/data

COPY --chown=root:0 include include
COPY --chown=root:0 dags dags
COPY --chown=root:0 plugins plugins
COPY --chown=root:0 sql sql

USER 50000:0
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=3 \
    CMD ["python", "-m", "kryss.services.health", "api-server"]
CMD ["airflow", "api-server"]
