#!/bin/sh
# Runs the op tests on kernels compiled with AddressSanitizer and UndefinedBehaviorSanitizer.
#
#     tests/sanitize.sh [PYTHON]                    # `make sanitize`; the first finding ends it
#     ISAS="portable avx2" tests/sanitize.sh        # by these kernels alone
#
# Needs g++ with its sanitizer libraries (Debian's g++ brings them). The build is a copy of the
# sources in build/sanitize: the ordinary extension and its objects stay as they are.
set -eu
cd "$(dirname "$0")/.."
python=$(command -v "${1:-python3}") || { echo "${1:-python3} is missing: run make setup" >&2; exit 1; }
case $python in /*) ;; *) python=$PWD/$python ;; esac
export CXX="${CXX:-g++}"

tree=build/sanitize
mkdir -p "$tree"
rm -rf "$tree/csrc" "$tree/mesm_ops" "$tree/tests" "$tree/benchmarks" "$tree/docs"
cp -Rp setup.py pyproject.toml README.md LICENSE csrc mesm_ops tests benchmarks docs "$tree"
cd "$tree"
rm -f mesm_ops/*.so

# The last -O counts. The library's own assertions find what stays inside an allocation.
flags="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
if ! MESM_OPS_CUDA=0 MESM_OPS_CXXFLAGS="$flags -D_GLIBCXX_ASSERTIONS" \
    "$python" setup.py build_ext --inplace >build.log 2>&1; then
  tail -n 1 build.log >&2
  echo "the whole log: $tree/build.log" >&2
  exit 1
fi

# Python itself is not sanitized, so the library has to be there before it; libstdc++ beside it,
# or the sanitizer looks for the functions that throw before torch has brought them.
preload="$("$CXX" -print-file-name=libasan.so) $("$CXX" -print-file-name=libstdc++.so)"
# Python frees little of what it holds at its end: leaks would all be its own.
sanitized() {
  LD_PRELOAD="$preload" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 "$python" "$@"
}

# Left out: torch.compile, whose compiler would run under the sanitizer too and whose code is not
# ours; ONNX and Triton's interpreter, where no C++ of ours runs; the CUDA files compiled for the
# host, which have sanitizers of their own; other compilers; what starts a Python of its own to look
# at imports, printing or the build; the reference backend, plain torch. Output is not captured: a
# finding ends the process, and its report with it.
tests() {
  sanitized -m pytest -q -p no:cacheprovider --capture=sys --timeout=3600 -k "not reference" "$@"
}

facts='import os; from mesm_ops import _C
assert _C.__file__.startswith(os.getcwd()), f"this is another build: {_C.__file__}"
print(_C.build_info()["isas_compiled"].replace(",", " "))'
isas=$(sanitized -c "$facts")
for isa in ${ISAS:-$isas}; do
  export MESM_OPS_CPU="$isa"
  if ! said=$(sanitized -c 'from mesm_ops import _C; _C.cpu_capability()' 2>&1); then
    case $said in
      *"this machine or this build does not have it"*) echo "$isa: not on this machine" ;;
      *) echo "$said" >&2 && exit 1 ;;
    esac
    continue
  fi
  echo "$isa:"
  tests tests/csrc tests/mesm_ops \
    --ignore=tests/csrc/test_build.py --ignore=tests/csrc/cpu/test_instruction_sets.py \
    --ignore=tests/csrc/cpu/kernels --ignore=tests/csrc/cuda --ignore=tests/mesm_ops/triton \
    --ignore=tests/mesm_ops/test_compile.py --ignore=tests/mesm_ops/test_import.py \
    --ignore=tests/mesm_ops/test_main.py --ignore=tests/mesm_ops/test_gpu.py \
    --ignore=tests/mesm_ops/test_onnx.py
done
# This one starts a Python for each instruction set.
unset MESM_OPS_CPU
tests tests/csrc/cpu/test_instruction_sets.py
echo "Nothing found."
