#!/usr/bin/env bash
# Takes the candidate of this folder from the first eval to a proven prompt. Run it in a copy: it writes cases and state.
set -euo pipefail
port=${PROVIDER_PORT:-9300}
started=()
trap 'kill "${started[@]}" 2>/dev/null; wait' EXIT

python3 make_cases.py
sed -i "s/127.0.0.1:9300/127.0.0.1:$port/" understudy.yaml

# A real provider on this machine that simulates three models: the old one, the new one, which gets half of the answers
# about money wrong until its prompt names the day and the card, and one that has ideas about prompts, good and bad.
day="say when the refund arrives" card="name the card it goes back to"
python3 -m understudy.testing.simulated --port "$port" \
    --model small-1-2025-03-01 \
    --model "small-2-2026-02-10={\"wrong_slice\": \"refund\", \"wrong_share\": 0.5, \"wrong_unless\": \"$day|$card\"}" \
    --model "editor-1={\"proposes\": \"- Be brief.|- If money was taken, $day.|- Use no exclamation marks.|- For money back, $card.\"}" &
started+=($!)
until (echo > "/dev/tcp/127.0.0.1/$port") 2>/dev/null; do kill -0 "${started[-1]}"; sleep 0.1; done

# Stage 1: worse on refunds, exit code 1. Stage 2: a search that closes the gap, exit code 0.
code=0
understudy eval reply-drafting --candidate small-2 || code=$?
[ "$code" = 1 ]
understudy tune reply-drafting --search --candidate small-2 --reflect-with local/editor-1 --usd 5 --write
understudy tune reply-drafting
