#!/usr/bin/env bash
# Backs up with a key file that can put and nothing else. Meant for cron: no prompts, honest exit codes.
#
#   backup.sh KEYFILE NAME COMMAND [ARG…]      e.g.  backup.sh /etc/zput/backup.zkey pg/main pg_dump main
#
# Nothing is stored when COMMAND fails. A temporary failure (exit 5) is tried again, with longer pauses; anything else
# ends the script with zput's own exit code.
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
