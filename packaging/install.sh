#!/bin/bash
# Installs binaries, units, example configurations and shell completions; `uninstall` takes them away again and
# leaves configurations and data. Starts nothing.
#
#   packaging/install.sh [all|agent|control|command|uninstall]...
#
#   PREFIX=/usr/local   DESTDIR= (for packages)   SYSCONFDIR=/etc   BIN=target/release (where the binaries are)
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)

PREFIX=${PREFIX:-/usr/local}
SYSCONFDIR=${SYSCONFDIR:-/etc}
DESTDIR=${DESTDIR:-}
BIN=${BIN:-$here/target/release}

bindir=$PREFIX/bin
unitdir=$PREFIX/lib/systemd/system
docdir=$PREFIX/share/doc/longshore
configdir=$SYSCONFDIR/longshore

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

binary() {
    [ -x "$BIN/$1" ] || fail "no $BIN/$1; build it first (cargo build --release), or say where it is with BIN="
    # install(1) writes a new file, so that a running binary can be replaced.
    install -D -m 0755 "$BIN/$1" "$DESTDIR$bindir/$1"
}

unit() {
    install -d "$DESTDIR$unitdir"
    sed -e "s|@BINDIR@|$bindir|g" -e "s|@DOCDIR@|$docdir|g" "$here/systemd/$1" >"$DESTDIR$unitdir/$1"
    chmod 0644 "$DESTDIR$unitdir/$1"
}

# A configuration that is there belongs to the operator: the new example is put beside it.
config() {
    install -d -m 0755 "$DESTDIR$configdir"
    local to=$DESTDIR$configdir/$1
    if [ -e "$to" ] && ! cmp -s "$here/packaging/$1" "$to"; then
        to=$to.example
        echo "kept $configdir/$1; the example is $configdir/$1.example"
    fi
    install -m 0644 "$here/packaging/$1" "$to"
}

docs() {
    install -d "$DESTDIR$docdir"
    install -m 0644 "$here/LICENSE" "$DESTDIR$docdir/"
    for page in install configuration command ecs-compatibility metadata network-modes network-troubleshooting protocol; do
        install -m 0644 "$here/docs/$page.md" "$DESTDIR$docdir/$page.md"
    done
}

agent() {
    binary longshore-agent
    unit longshore-agent.service
    config agent.toml
    docs
}

control() {
    binary longshore-control
    unit longshore-control.service
    config control.toml
    docs
}

command_() {
    binary longshore
    install -D -m 0644 "$here/packaging/longshore.toml" "$DESTDIR$docdir/longshore.toml"
    docs
    local share=$DESTDIR$PREFIX/share
    install -d "$share/bash-completion/completions" "$share/zsh/site-functions" "$share/fish/vendor_completions.d"
    "$BIN/longshore" completions bash >"$share/bash-completion/completions/longshore"
    "$BIN/longshore" completions zsh >"$share/zsh/site-functions/_longshore"
    "$BIN/longshore" completions fish >"$share/fish/vendor_completions.d/longshore.fish"
}

uninstall() {
    local share=$DESTDIR$PREFIX/share
    rm -f "$DESTDIR$bindir"/longshore{,-agent,-control} "$DESTDIR$unitdir"/longshore-{agent,control}.service \
        "$share/bash-completion/completions/longshore" "$share/zsh/site-functions/_longshore" \
        "$share/fish/vendor_completions.d/longshore.fish"
    rm -rf "$DESTDIR$docdir"
    echo "kept $configdir and /var/lib/longshore"
}

[ $# -gt 0 ] || set -- all
for what in "$@"; do
    case $what in
        all) agent; control; command_ ;;
        agent) agent ;;
        control) control ;;
        command) command_ ;;
        uninstall) uninstall ;;
        -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0" ;;
        *) fail "there is no part \`$what\`: all, agent, control, command, uninstall" ;;
    esac
done
if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
