#!/usr/bin/env bash
# Pulls an artifact on a machine of a fleet. TARGET is replaced in one step, when the new contents
# are verified. The exit code is that of zget (docs/EXIT_CODES.md).
#
#   fleet-pull.sh KEYFILE NAME TARGET
#   fleet-pull.sh /etc/zput/fleet.zkey images/app /srv/app.img
#
# After a temporary failure (exit code 5) the script tries again, five times in all, with a random
# pause, so that the machines of a fleet do not come back all at once. An integrity failure (exit
# code 8) is not tried again: a person has to look (docs/guide/recover.md).
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
