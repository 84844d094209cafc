#!/usr/bin/env bash
# Builds the Debian packages zput (the client) and zserve (the server) into target/debian.
#
#   contrib/package.sh             needs cargo-deb (cargo install --locked cargo-deb)
#   contrib/package.sh --generate  only makes in target/package what the packages hold beside the
#                                  programs: manual pages, completions, links, units
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --release --bin zblob --bin zserve
programs=${CARGO_TARGET_DIR:-target}/release
package=target/package
rm -rf "$package"

complete() { # DIR NAME PROGRAM [NAME]
    local dir=$1 name=$2 program=$3
    mkdir -p "$dir/bash" "$dir/fish" "$dir/zsh"
    "$program" completions bash "${@:4}" >"$dir/bash/$name"
    "$program" completions fish "${@:4}" >"$dir/fish/$name.fish"
    "$program" completions zsh "${@:4}" >"$dir/zsh/_$name"
}

"$programs/zblob" man "$package/client/man"
for name in zblob zput zget; do complete "$package/client" "$name" "$programs/zblob" "$name"; done
mkdir -p "$package/bin" "$package/units"
ln -s zblob "$package/bin/zput"
ln -s zblob "$package/bin/zget"

"$programs/zserve" man "$package/server/man"
complete "$package/server" zserve "$programs/zserve"
for unit in contrib/zserve*.service contrib/zserve*.socket contrib/zserve*.timer; do
    # A package installs below /usr, an administrator below /usr/local.
    sed -e 's|/usr/local/bin/|/usr/bin/|' -e 's|/usr/share/doc/zput/|/usr/share/doc/zserve/|' \
        "$unit" >"$package/units/${unit##*/}"
done

if [ "${1:-}" = --generate ]; then exit; fi
for crate in zput-cli zput-server; do cargo deb --locked --no-build -p "$crate"; done
