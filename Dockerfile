# Restock from its wheel, for a user without rights and a read-only root file system: see docs/containers.md.
FROM python:3.11-slim AS build
ENV UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /src
COPY pyproject.toml requirements.lock requirements-dev.lock ./
RUN awk '/^[^ #]/ {is_uv = /^uv==/} is_uv' requirements.lock > uv.lock \
    && pip install --no-cache-dir --require-hashes -r uv.lock \
    && uv venv /opt/restock \
    && uv pip install --python /opt/restock -r pyproject.toml --constraints requirements-dev.lock \
        --extra app --extra mlflow --extra mongo --extra postgres --extra redis --extra serve --extra xlsx
COPY . .
RUN uv build --wheel --build-constraints requirements.lock --out-dir /wheels \
    && uv pip install --python /opt/restock --no-deps /wheels/*.whl

# MLflow's pages and store. It needs an older pyarrow than Restock, so it has an image of its own.
FROM python:3.11-slim AS mlflow
RUN pip install --no-cache-dir mlflow==3.17.2 \
    && useradd --uid 10001 mlflow && install --directory --owner mlflow /mlflow
USER 10001
WORKDIR /mlflow

FROM python:3.11-slim
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 restock && install --directory --owner restock /data
COPY --from=build /opt/restock /opt/restock
ENV PATH=/opt/restock/bin:$PATH RESTOCK_HOME=/data HOME=/tmp
USER 10001
WORKDIR /data
ENTRYPOINT ["restock"]
CMD ["--help"]
