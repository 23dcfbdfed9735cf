#!/usr/bin/env bash
# Runs a command of deployer, which tells later steps itself what came of it (GITHUB_OUTPUT): revision, digest, url, changed.
#
# Reads COMMAND, ENVIRONMENT, ARGS (separated by spaces), and what GitHub gives to every step. Ends as the command does.
set -euo pipefail

words=("$COMMAND")
if [ -n "${ENVIRONMENT:-}" ]; then words+=("$ENVIRONMENT"); fi
# A line for each word: with an empty list the bash of macOS would call the list unknown.
while IFS= read -r word; do
  if [ -n "$word" ]; then words+=("$word"); fi
done < <(tr -s ' \t\n' '\n' <<<"${ARGS:-}")
exec deployer "${words[@]}"
