#!/usr/bin/env bash
# Runs the commands that README.md and docs/guide/*.md show, as new users with empty homes would.
#
#   bash tests/readme.sh          builds the programs and begins with the first command of the README
#   bash tests/readme.sh DIR      builds nothing and takes the programs from DIR
#
# Comments in a page, which its readers do not see, say what is to run:
#
#   <!-- run: MACHINE[, background][, copy MACHINE/FILE]…[, exit CODE][, needs PROGRAM] -->
#       The fenced `sh` block that follows runs in the home of MACHINE. `background`: the block is a
#       server, which goes on running. `copy`: a file or directory of another machine is copied into
#       this home first. `exit`: the block ends with CODE instead of 0. `needs`: the block is skipped
#       where PROGRAM is missing.
#   <!-- check: MACHINE: COMMAND -->
#       COMMAND, which the page does not show, succeeds in the home of MACHINE.
#   <!-- stop -->
#       The server is stopped. The next `background` block starts it at the same address.
#
# Each page has machines and a server of its own. Nothing is changed in a block but addresses: the
# server listens on loopback, at ports of the kernel's choosing.
set -euo pipefail
cd "$(dirname "$0")/.."

# Every page, and how many of its blocks run: a comment with a typing error changes the number.
pages=(
    README.md:10
    docs/guide/person.md:14
    docs/guide/backups.md:8
    docs/guide/fleet.md:13
    docs/guide/operator.md:14
    docs/guide/recover.md:24
)

repository=$PWD
machines=$(mktemp -d)
export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo} RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
unset "${!XDG_@}" "${!ZPUT_@}" "${!ZSERVE_@}"
server_pid=

fail() { echo "tests/readme.sh: $*" >&2; exit 1; }

stop_server() {
    [ -n "$server_pid" ] || return 0
    kill "$server_pid" 2>/dev/null || true
    wait "$server_pid" || true
    server_pid=
}

cleanup() { stop_server; rm -rf "$machines"; }
trap cleanup EXIT

# Runs the script $2 in the home of machine $1.
on_machine() {
    mkdir -p "$home/$1"
    (cd "$home/$1" && HOME=$home/$1 bash -euo pipefail "$2" </dev/null)
}

# The addresses of the pages, as the server of this page has them.
with_local_addresses() {
    sed -e "s/0\.0\.0\.0:7460\|server\.example:7460/$zput_address/g" \
        -e "s/0\.0\.0\.0:8080\|server\.example:8080/$http_address/g" \
        -e "s/127\.0\.0\.1:9399/$admin_address/g"
}

# Starts the server that the script $2 names on machine $1, and waits until it is ready.
start_server() {
    local ready=$home/ready log=$home/$1.log
    mkdir -p "$home/$1"
    : >"$ready"
    (cd "$home/$1" && HOME=$home/$1 exec bash -euc "exec $(cat "$2")" >"$ready" 2>>"$log") &
    server_pid=$!
    for _ in $(seq 100); do grep -q ready "$ready" && break; sleep 0.1; done
    grep -q '^zserve: ready on ' "$ready" || { cat "$log"; fail "zserve was not ready"; }
    zput_address=$(sed -n 's/^zserve: ready on \([^, ]*\).*/\1/p' "$ready")
    http_address=$(sed -n 's/.*, http \([^, ]*\).*/\1/p' "$ready")
    admin_address=$(sed -n 's/.*, admin \([^, ]*\).*/\1/p' "$ready")
    http_address=${http_address:-127.0.0.1:0} admin_address=${admin_address:-127.0.0.1:0}
}

# Runs the block $2, with the words $1 of its comment.
run_block() {
    local block=$2 machine=${1%%,*} background= expected=0 code=0 word words
    IFS=, read -ra words <<<"$1"
    mkdir -p "$home/$machine"
    for word in "${words[@]:1}"; do
        case ${word# } in
            background) background=1 ;;
            "copy "*) cp -r "$home/${word# copy }" "$home/$machine/" ;;
            "exit "*) expected=${word# exit } ;;
            "needs "*)
                if ! command -v "${word# needs }" >/dev/null; then
                    echo "[$machine] skipped: there is no ${word# needs }"
                    return
                fi
                ;;
            *) fail "$page: \"$word\" is none of the words of a run comment" ;;
        esac
    done
    sed "s/^/[$machine] \$ /" "$block"
    with_local_addresses <"$block" >"$block.local"
    if [ -n "$background" ]; then
        start_server "$machine" "$block.local"
        return
    fi
    on_machine "$machine" "$block.local" || code=$?
    [ "$code" = "$expected" ] || fail "$page: that block ended with $code, not with $expected"
}

# Runs the command of the check comment $1, "MACHINE: COMMAND".
run_check() {
    printf '%s\n' "${1#*: }" | with_local_addresses >"$home/check"
    on_machine "${1%%:*}" "$home/check" >/dev/null || fail "$page: this check failed: $1"
}

# Runs the blocks of a page, which are to be $2.
run_page() {
    local page=$1 expected=$2 line spec='' fence='' blocks=0
    local home=$machines/${1//\//-}
    local zput_address=127.0.0.1:0 http_address=127.0.0.1:0 admin_address=127.0.0.1:0
    mkdir "$home"
    printf '\n== %s\n' "$page"
    while IFS= read -r line <&3; do
        case $line in
            "<!-- run: "*)
                [ -z "$spec$fence" ] || fail "$page: no sh block follows \"$spec\""
                spec=${line#<!-- run: } spec=${spec% -->}
                ;;
            "<!-- check: "*) line=${line#<!-- check: }; run_check "${line% -->}" ;;
            "<!-- stop -->") stop_server ;;
            " "*"<!-- run: "*) fail "$page: a block that runs is not indented: $line" ;;
            '```sh') if [ -n "$spec" ]; then fence=$home/block; : >"$fence"; fi ;;
            '```')
                if [ -n "$fence" ]; then
                    run_block "$spec" "$fence"
                    blocks=$((blocks + 1)) spec='' fence=''
                fi
                ;;
            *) [ -z "$fence" ] || printf '%s\n' "$line" >>"$fence" ;;
        esac
    done 3<"$page"
    [ -z "$spec$fence" ] || fail "$page: no whole sh block follows \"$spec\""
    stop_server
    [ "$blocks" = "$expected" ] || fail "$page has $blocks blocks to run, not $expected"
    echo "$page: $blocks blocks ran as written"
}

for page in docs/guide/*.md; do
    [[ " ${pages[*]}" == *" $page:"* ]] || fail "$page is not among the pages that are run"
done
if [ "$#" -gt 0 ]; then
    PATH=$(cd "$1" && pwd):$PATH
else
    # The first indented command of the README, in the checkout, with an empty home.
    first=$(sed -n 's/^    \(cargo run .*\)$/\1/p' README.md | head -n 1)
    echo "\$ $first"
    mkdir "$machines/stranger"
    HOME=$machines/stranger bash -euc "$first"
    cargo build --locked --release --quiet --bins
    PATH=${CARGO_TARGET_DIR:-$repository/target}/release:$PATH
fi
for entry in "${pages[@]}"; do run_page "${entry%:*}" "${entry##*:}"; done
