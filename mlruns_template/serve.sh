#!/usr/bin/env bash
# Start an MLflow server with the settings of a file: ./serve.sh local.env | ./serve.sh server.env
set -euo pipefail
[ -f "${1:-}" ] || { echo "usage: $0 local.env|server.env" >&2; exit 2; }
cd "$(dirname "$1")"
set -a
if [ -f secrets.env ]; then . ./secrets.env; fi
. "./$(basename "$1")"
set +a
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true
export MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false

app=()
if [ -n "${AUTH_STORE_URI:-}" ]; then
    for name in MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY; do
        [ -n "${!name:-}" ] || { echo "serve.sh: $name is not set; see secrets.env.example" >&2; exit 2; }
    done
    # MLflow reads these settings from a file only; the password is not among them.
    MLFLOW_AUTH_CONFIG_PATH=$(mktemp "${TMPDIR:-/tmp}/mlflow-auth.XXXXXX")
    export MLFLOW_AUTH_CONFIG_PATH
    printf '%s\n' '[mlflow]' "default_permission = $DEFAULT_PERMISSION" "database_uri = $AUTH_STORE_URI" \
        'admin_username = admin' \
        'authorization_function = mlflow.server.auth:authenticate_request_basic_auth' >"$MLFLOW_AUTH_CONFIG_PATH"
    app=(--app-name basic-auth)
fi

exec mlflow server "${app[@]}" \
    --backend-store-uri "$BACKEND_STORE_URI" \
    --artifacts-destination "$ARTIFACTS" \
    --host "$HOST" --port "$PORT" --workers "$WORKERS" \
    --allowed-hosts "$ALLOWED_HOSTS" ${CORS_ALLOWED_ORIGINS:+--cors-allowed-origins "$CORS_ALLOWED_ORIGINS"}
