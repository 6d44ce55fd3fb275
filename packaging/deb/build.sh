#!/bin/bash
# Build the Debian package of what is committed.
#
#   build.sh ARCHITECTURE WHEELS DESTINATION [BUILD_FOLDER]
#
# WHEELS is a folder with one subfolder for each architecture, filled by wheels.py. Gives the same bytes for the
# same commit, wherever and whenever it is built.
set -euo pipefail

architecture=$1 wheels=$(realpath "$2") destination=$(realpath "$3")
tree=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
build=$(mktemp -d -p "${4:-${TMPDIR:-/tmp}}" kong-ai-tracing-deb.XXXXXX)
trap 'rm -rf "$build"' EXIT

missing=()
for program in dh:debhelper dpkg-buildpackage:dpkg-dev help2man:help2man; do
    command -v "${program%%:*}" >/dev/null || missing+=("${program##*:}")
done
if ((${#missing[@]})); then
    echo "build.sh: not installed: apt-get install ${missing[*]}" >&2
    exit 1
fi

export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C.UTF-8
SOURCE_DATE_EPOCH=$(git -C "$tree" log -1 --format=%ct)
umask 022

source=$build/kong-ai-tracing
mkdir "$source"
git -C "$tree" archive HEAD | tar -x -C "$source"
cp -r "$source/packaging/deb/debian" "$source/debian"
cp "$source/systemd/kong-ai-tracing.service" "$source/debian/kong-ai-tracing.service"
cp "$source/systemd/sysusers.conf" "$source/debian/kong-ai-tracing.sysusers"
ln -s "$wheels" "$source/wheels"

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$source/agent/kong_ai_tracing/__init__.py")
cat >"$source/debian/changelog" <<CHANGELOG
kong-ai-tracing ($version) unstable; urgency=medium

  * What changes for operators is in changelog.gz beside this file.

 -- $(sed -n 's/^Maintainer: //p' "$source/debian/control")  $(date -R -d "@$SOURCE_DATE_EPOCH")
CHANGELOG

cd "$source"
options=(--build=binary --no-sign --host-arch="$architecture")
# Nothing is compiled, so no compiler for the other architecture is needed.
[[ $architecture == "$(dpkg --print-architecture)" ]] || options+=(--no-check-builddeps)
dpkg-buildpackage "${options[@]}" >"$build/log" 2>&1 || { tail -n 60 "$build/log" >&2; exit 1; }
mv "$build"/kong-ai-tracing_*_"$architecture".{deb,changes,buildinfo} "$destination/"
echo "built $destination/kong-ai-tracing_${version}_$architecture.deb"
