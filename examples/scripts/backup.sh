#!/usr/bin/env bash
# Stores what a command prints, with a key file that can put and nothing else. For cron: the
# script never asks, and its exit code is that of zput (docs/EXIT_CODES.md).
#
#   backup.sh KEYFILE NAME COMMAND [ARG…]
#   backup.sh /etc/zput/backup.zkey pg/main pg_dump main
#
# If COMMAND fails, nothing is stored. After a temporary failure (exit code 5) the script tries
# again, five times in all, and doubles the pause each time. zput itself has retried for seconds
# by then.
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: backup.sh KEYFILE NAME COMMAND [ARG…]" >&2
    exit 2
fi
key=$1 name=$2
shift 2

readonly TRIES_MAX=5 FIRST_PAUSE_SECONDS=${BACKUP_PAUSE_SECONDS:-10}
pause=$FIRST_PAUSE_SECONDS
for try in $(seq "$TRIES_MAX"); do
    code=0
    zput --key "$key" --json --exec --name "$name" -- "$@" || code=$?
    if [ "$code" != 5 ] || [ "$try" = "$TRIES_MAX" ]; then
        exit "$code"
    fi
    echo "backup.sh: try $try of $TRIES_MAX failed for now, again in $pause s" >&2
    sleep "$pause"
    pause=$((pause * 2))
done
