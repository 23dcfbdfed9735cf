#!/usr/bin/env bash
# Runs a command of deployer and tells later steps what came of it: revision, digest, url, changed.
#
# Reads COMMAND, ENVIRONMENT, ARGS (separated by spaces), and what GitHub gives to every step. Ends as the command does.
set -euo pipefail

report="$RUNNER_TEMP/deployer-report.json"
words=("$COMMAND")
if [ -n "${ENVIRONMENT:-}" ]; then words+=("$ENVIRONMENT"); fi
read -r -a given <<<"${ARGS:-}"
# `${x[@]+...}`: an empty list is an error to the bash of macOS.
words+=(${given[@]+"${given[@]}"})

tell() { printf '%s=%s\n' "$1" "$2" >> "$GITHUB_OUTPUT"; }

code=0
deployer "${words[@]}" --output json > "$report" || code=$?

if jq -e . "$report" > /dev/null 2>&1; then
  tell changed "$(jq -r '
    if has("outcomes") then any(.outcomes[]; .outcome == "applied")
    elif has("drift") and (.drift | type) == "boolean" then .drift
    elif has("changes") then (.changes | length) > 0
    elif has("builds") then any(.builds[]; .outcome == "built")
    else false end' "$report")"
  environment=$(jq -r '.plan.environment // .environment // empty' "$report")
  first=$(jq -r '.services[0].name // empty' "$report" 2> /dev/null || true)
  case "$COMMAND" in
    apply | rollback)
      status="$RUNNER_TEMP/deployer-status.json"
      if [ "$code" = 0 ] && [ -n "$environment" ] && deployer status "$environment" --output json > "$status"; then
        service=$(jq -c --arg first "$first" '(map(select(.name == $first)) + .)[0] // {}' <<<"$(jq -c .services "$status")")
        serving=$(jq -c '[.serving[]? | select(.percent > 0)] | max_by(.percent) // {}' <<<"$service")
        tell revision "$(jq -r '.revision // empty' <<<"$serving")"
        tell digest "$(jq -r '.image // "" | capture("@(?<digest>sha256:[0-9a-f]{64})$").digest? // empty' <<<"$serving")"
        tell url "$(jq -r '.url // empty' <<<"$service")"
      fi
      ;;
  esac
fi
exit "$code"
