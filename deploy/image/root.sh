#!/bin/sh
# Makes the root file system of the daemon's image: iptables and nft, what they and the daemon load,
# certificates; no shell, no package manager.
#
# usage: root.sh TARGET DAEMON
#
# In: a Debian that has the packages ca-certificates, iptables and nftables; the daemon as it was linked.
# Out: TARGET, a folder to copy to / of an empty image. The same script makes the folder in which the
# tests start these programs, so that what is missing is missed there.
set -eu

target=$1
daemon=$2

# Copies files with the path they have, links resolved.
take() {
    for file in "$@"; do
        mkdir -p "$target$(dirname "$file")"
        cp -L --preserve=mode,timestamps "$file" "$target$file"
    done
}

# The dynamic loader and the libraries that a program asks for.
libraries() {
    ldd "$@" | sed -n 's/.*=> \(\/[^ ]*\) (.*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' | sort -u
}

programs="/usr/sbin/nft /usr/sbin/xtables-nft-multi /usr/sbin/xtables-legacy-multi"
# iptables loads its matches and targets by name. Those for IPv6, ARP and bridges are left out.
extensions=$(find /usr/lib -path '*/xtables/*' \( -name 'libxt_*.so' -o -name 'libipt_*.so' \))

# shellcheck disable=SC2086 # lists of words
take $programs $extensions $(libraries $programs $extensions "$daemon") /etc/ssl/certs/ca-certificates.crt

# Which of the two is the node's, the entrypoint finds out and puts before the others in PATH.
for kind in nft legacy; do
    mkdir -p "$target/app/iptables/$kind"
    for name in iptables iptables-restore iptables-save; do
        ln -sf "/usr/sbin/xtables-$kind-multi" "$target/app/iptables/$kind/$name"
    done
done

# Without it, glibc would not look into /etc/hosts first.
printf 'hosts: files dns\n' > "$target/etc/nsswitch.conf"
mkdir -p "$target/tmp" "$target/run" "$target/var/run"
