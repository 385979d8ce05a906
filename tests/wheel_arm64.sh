#!/bin/sh
# Cross-compiles the wheel for arm64 and runs it under qemu, on an x86-64 Debian 12.
#
#     apt install g++-aarch64-linux-gnu qemu-user
#     tests/wheel_arm64.sh dist/mesm-0.1.0.tar.gz [PYTHON]    # the sdist of `make wheel`
#
# An arm64 Python comes from Debian, a torch from PyPI (2.10.0, the last arm64 build there that
# needs no CUDA libraries), both into build/arm64: nothing is installed.
set -eu
sdist=$(realpath "$1")
cd "$(dirname "$0")/.."
python=$(realpath -s "$(command -v "${2:-.venv/bin/python}")")
torch=2.10.0
mkdir -p build/arm64
cd build/arm64
here=$PWD

if ! test -x root/usr/bin/python3.11; then
  mkdir -p apt/lists/partial apt/archives/partial root
  touch apt/status
  cat >apt/conf <<END
APT::Architecture "arm64";
APT::Architectures "arm64";
Dir::State "$here/apt";
Dir::State::status "$here/apt/status";
Dir::Cache "$here/apt";
END
  APT_CONFIG=$here/apt/conf apt-get -qq update
  APT_CONFIG=$here/apt/conf apt-get -qq install -y --no-install-recommends --download-only \
    python3.11 libpython3.11-dev libstdc++6
  for package in apt/archives/*.deb; do dpkg -x "$package" root; done
fi
if ! test -d site/torch; then
  "$python" -m pip download -q --no-deps -d wheels --only-binary=:all: --implementation=cp \
    --python-version=3.11 --abi=cp311 --platform=manylinux_2_28_aarch64 "torch===$torch"
  "$python" -m zipfile -e wheels/torch-*.whl site
  "$python" -m pip install -q --no-deps --target site filelock typing-extensions sympy mpmath \
    networkx jinja2 fsspec
  "$python" -m pip download -q --no-deps -d wheels --only-binary=:all: --implementation=cp \
    --python-version=3.11 --abi=cp311 --platform=manylinux2014_aarch64 markupsafe
  "$python" -m zipfile -e wheels/markupsafe-*.whl site
fi

rm -rf source config built
mkdir -p source config/aarch64-linux-gnu
tar -xzf "$sdist" -C source --strip-components=1
# Python's own way to build for another machine than the one that it runs on.
cp root/usr/lib/python3.11/_sysconfigdata__aarch64-linux-gnu.py config/
ln -s "$here/root/usr/include/aarch64-linux-gnu/python3.11" config/aarch64-linux-gnu/python3.11
cd source
_PYTHON_HOST_PLATFORM=linux-aarch64 \
_PYTHON_SYSCONFIGDATA_NAME=_sysconfigdata__aarch64-linux-gnu \
PYTHONPATH=$here/config:$here/site MESM_OPS_CUDA=0 \
CXX="${CXX:-aarch64-linux-gnu-g++}" \
MESM_OPS_CXXFLAGS="-isystem $here/config -isystem $here/root/usr/include/python3.11" \
  "$python" setup.py -q bdist_wheel --dist-dir "$here/built"
cd ..
"$python" -m zipfile -e built/mesm-*.whl unpacked
file -L unpacked/mesm_ops/*.so
OMP_NUM_THREADS=1 PYTHONPATH=$here/unpacked:$here/site \
  qemu-aarch64 -L root root/usr/bin/python3.11 -W ignore -P ../../tests/wheel.py --here
