#!/usr/bin/env bash
# Pulls an artifact on a machine of a fleet: verified before the file appears, and replaced in one step.
#
#   fleet-pull.sh KEYFILE NAME TARGET
#
# A temporary failure (exit 5) is tried again after a random pause, so that a fleet does not come back as one. An integrity
# failure (exit 8) is never tried again: somebody must look.
set -euo pipefail

if [ "$#" != 3 ]; then
    echo "usage: fleet-pull.sh KEYFILE NAME TARGET" >&2
    exit 2
fi
key=$1 name=$2 target=$3

readonly TRIES_MAX=5 PAUSE_SECONDS_MAX=${FLEET_PAUSE_SECONDS_MAX:-30}
for try in $(seq "$TRIES_MAX"); do
    code=0
    zget --key "$key" --force -o "$target" "$name" || code=$?
    if [ "$code" != 5 ] || [ "$try" = "$TRIES_MAX" ]; then
        exit "$code"
    fi
    sleep "$((RANDOM % (PAUSE_SECONDS_MAX + 1)))"
done
