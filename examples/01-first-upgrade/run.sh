#!/usr/bin/env bash
# Takes the upgrade of this folder from the first eval to done. Run it in a copy: it writes cases, recordings and state.
set -euo pipefail
provider=${PROVIDER_PORT:-9100} gateway=${GATEWAY_PORT:-8080}
started=()
listening() {  # wait until a process started here listens on a port, or has ended
    until (echo > "/dev/tcp/127.0.0.1/$1") 2>/dev/null; do kill -0 "${started[-1]}"; sleep 0.1; done
}
trap 'kill "${started[@]}" 2>/dev/null; wait' EXIT

python3 make_cases.py
sed -i "s/127.0.0.1:9100/127.0.0.1:$provider/" understudy.yaml

understudy replay serve --recordings recordings/desk.jsonl --port "$provider" --latency-scale 0.02 & started+=($!)
listening "$provider"

# Stage 1: worse on refunds, exit code 1. Stage 2: the better prompt, exit code 0.
code=0
understudy eval reply-drafting --candidate small-2 || code=$?
[ "$code" = 1 ]
understudy eval reply-drafting --candidate small-2-tuned

# Stages 3 to 5, with live traffic.
understudy up --port "$gateway" --workers 2 & started+=($!)
listening "$gateway"
understudy upgrade start reply-drafting --candidate small-2-tuned --why "small-1 is retired in May"
python3 traffic.py "http://127.0.0.1:$gateway" 300 & started+=($!)
code=0
understudy upgrade status reply-drafting --watch || code=$?

understudy shadow report reply-drafting || true
understudy history reply-drafting
exit "$code"
