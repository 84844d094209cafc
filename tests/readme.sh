#!/usr/bin/env bash
# Runs what the README shows, word for word, as new users with empty homes would.
#
# A fenced block behind `<!-- run: MACHINE[, background][, copy FROM/FILE]… -->` is run in the home of that machine. The only
# words changed are the addresses: the server listens on loopback, on a port of the kernel's choosing.
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
machines=$(mktemp -d)
export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
server_pid=
cleanup() {
    [ -z "$server_pid" ] || kill "$server_pid" 2>/dev/null || true
    rm -rf "$machines"
}
trap cleanup EXIT
address=127.0.0.1:0

# The first indented command, in the checkout, with an empty home.
first=$(sed -n 's/^    \(cargo run .*\)$/\1/p' README.md | head -n 1)
echo "\$ $first"
mkdir "$machines/stranger"
HOME=$machines/stranger bash -euc "$first"
cargo build --locked --release --quiet --bins
PATH=$repository/target/release:$PATH

run_block() { # spec, file with the commands
    local spec=$1 script=$2 machine=${1%%,*} word from
    mkdir -p "$machines/$machine"
    IFS=, read -ra words <<<"$spec"
    for word in "${words[@]:1}"; do
        case $word in
            " copy "*) from=${word# copy }; cp "$machines/$from" "$machines/$machine/" ;;
        esac
    done
    sed -e "s/0\.0\.0\.0:7460/127.0.0.1:0/g; s/server\.example:7460/$address/g" "$script" >"$script.local"
    sed "s/^/[$machine] \$ /" "$script"
    if [[ $spec == *", background"* ]]; then
        (cd "$machines/$machine" && HOME=$machines/$machine exec bash -euc "exec $(cat "$script.local")" \
            >"$machines/ready" 2>"$machines/$machine.log") &
        server_pid=$!
        for _ in $(seq 100); do grep -q ready "$machines/ready" 2>/dev/null && break; sleep 0.1; done
        address=$(sed -n 's/^zserve: ready on //p' "$machines/ready")
        [ -n "$address" ] || { cat "$machines/$machine.log"; echo "zserve was not ready"; exit 1; }
    else
        (cd "$machines/$machine" && HOME=$machines/$machine bash -euo pipefail "$script.local" </dev/null)
    fi
}

spec= fence= blocks=0
while IFS= read -r line; do
    case $line in
        "<!-- run: "*) spec=${line#<!-- run: }; spec=${spec% -->} ;;
        '```sh') if [ -n "$spec" ]; then fence=$machines/block; : >"$fence"; fi ;;
        '```')
            if [ -n "$fence" ]; then
                run_block "$spec" "$fence"
                blocks=$((blocks + 1)) spec= fence=
            fi
            ;;
        *) [ -z "$fence" ] || printf '%s\n' "$line" >>"$fence" ;;
    esac
done <README.md

echo "the plans" | cmp - "$machines/laptop/secret.bin"
# What was put before there was a server went along.
HOME=$machines/laptop zls | grep -qx secret.bin
echo "the plans" | cmp - "$machines/fleet/secret.bin"
[ "$blocks" = 10 ] || { echo "the README has $blocks blocks to run, not 10"; exit 1; }
echo "README: $blocks blocks ran as written"
