#!/bin/sh
# A Debian tree of another release, for tests: debootstrap.sh SUITE DIR [PACKAGE...]
#
# Makes DIR (say /var/cache/microseg-lab/trixie) a minimal SUITE system with the packages, or leaves it if it already is
# one that has them. DIR appears complete or not at all; concurrent callers wait for each other. The tree is only a
# cache: delete it whenever nothing uses it. Callers must not write to it: put an overlay or a private mount on top.
#
# The mirror is the one this machine's apt uses, found at run time. Needs root. Prints DIR's build log on failure only.
set -eu

[ $# -ge 2 ] || { echo "usage: $0 SUITE DIR [PACKAGE...]" >&2; exit 2; }
suite=$1
dir=$2
shift 2
stamp=.microseg-packages  # in the tree: what it was made with

# True if the tree is there and holds all the packages.
complete() {
  [ -f "$dir/$stamp" ] || return 1
  [ "$(head -n 1 "$dir/$stamp")" = "$suite" ] || return 1
  for package in "$@"; do grep -qxF -e "$package" "$dir/$stamp" || return 1; done
}

# The archive from which this machine's own release is installed.
mirror() {
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  apt-get indextargets --format '$(CODENAME)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)' "Created-By: Packages" |
    awk -F '|' -v codename="$codename" \
      '($1 == codename || $2 == codename) && $3 == "main" && $4 ~ /^(https?|file):/ { print $4; exit }'
}

complete "$@" && exit 0

command -v debootstrap >/dev/null || { echo "debootstrap is not installed: apt-get install debootstrap" >&2; exit 1; }
mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
flock 9
complete "$@" && exit 0  # another run made it while we waited

archive=$(mirror)
[ -n "$archive" ] || { echo "apt has no http(s) archive of this machine's release from which $suite could come" >&2; exit 1; }
if [ -z "${http_proxy:-}" ]; then
  proxy=$(apt-config dump --format '%v%n' Acquire::http::Proxy)
  case $proxy in http*) export http_proxy="$proxy" ;; esac
fi

new=$dir.new
log=$dir.log
include=$(echo "$*" | tr ' ' ,)
try=1
# A mount namespace of its own, so that nothing debootstrap mounts stays behind, and a process namespace, so that
# nothing a package starts does.
until rm -rf --one-file-system "$new" &&
  unshare --mount --pid --fork --kill-child -- \
    debootstrap --variant=minbase ${include:+"--include=$include"} "$suite" "$new" "$archive" >"$log" 2>&1 9>&-; do
  if [ $try -ge 2 ]; then
    tail -n 30 "$log" >&2
    [ ! -f "$new/debootstrap/debootstrap.log" ] || tail -n 30 "$new/debootstrap/debootstrap.log" >&2
    echo "debootstrap of $suite into $dir failed" >&2
    exit 1
  fi
  try=$((try + 1))  # mirrors hiccup
done

rm -f "$new"/var/cache/apt/archives/*.deb
{ echo "$suite"; for package in "$@"; do echo "$package"; done; } >"$new/$stamp"
if [ -e "$dir" ]; then  # made with fewer packages
  mv "$dir" "$dir.old"
  mv "$new" "$dir"
  rm -rf --one-file-system "$dir.old"
else
  mv "$new" "$dir"
fi
