#!/usr/bin/env bash
# Start an mlflow server with the settings of a file: ./serve.sh local.env | ./serve.sh server.env
set -euo pipefail
[ -f "${1:-}" ] || { echo "usage: $0 local.env|server.env" >&2; exit 2; }
cd "$(dirname "$1")"
set -a
. "./$(basename "$1")"
set +a
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true
export MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false
exec mlflow server \
    --backend-store-uri "$BACKEND_STORE_URI" \
    --artifacts-destination "$ARTIFACTS" \
    --host "$HOST" --port "$PORT" --workers "$WORKERS" \
    --allowed-hosts "$ALLOWED_HOSTS" ${CORS_ALLOWED_ORIGINS:+--cors-allowed-origins "$CORS_ALLOWED_ORIGINS"}
