#!/usr/bin/env bash
# What a machine with a card shows in one go: builds the module, runs its tests, looks for bad accesses and races, times
# everything. Takes the python3 on the path, which needs torch with CUDA, numpy, pytest and pybind11, and cmake, ninja and
# nvcc; installs nothing.
#
#     bench/gpu/all.sh [build tests memcheck racecheck flat graph bags profile]    (default: all but the last)
#
# tests, memcheck and racecheck take a part of the tests where one follows: memcheck:tables runs those whose names have
# that word (tables, flat_index, graph_index, graph_build: the files). Without one, the sanitizers go file by file.
# `profile` reads the counters of the kernels that search, build and pool, by Nsight Compute.
#
# What a step prints is also written to $OUT/<step>.txt (default: build/gpu).
set -uo pipefail
cd "$(dirname "$0")/../.."
out=${OUT:-build/gpu}
mkdir -p "$out"
export PYTHONPATH=$PWD/python PYTHONUNBUFFERED=1
export PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin # of compute-sanitizer and ncu

build() {
  cmake -S . -B build/cuda -G Ninja -DCMAKE_BUILD_TYPE=Release -DSEMBLANCE_CUDA=ON \
    -DCMAKE_CUDA_ARCHITECTURES="${ARCHITECTURES:-90a-real}" -DPython_EXECUTABLE="$(command -v python3)" \
    -Dpybind11_DIR="$(python3 -m pybind11 --cmakedir)" &&
    cmake --build build/cuda --parallel
}
suite() { # a word of the tests' names, then what runs python
  local part=$1
  shift
  python3 -c 'import semblance as sb; sb.gpu.require("these tests")' || return 1 # else all of them would be skipped
  "$@" python3 -m pytest -q -m gpu -k "$part" tests/gpu
}
# Calls that fail and are answered for, as pinning what is pinned already, are no errors.
sanitized() { suite "$2" compute-sanitizer --tool "$1" --report-api-errors no --error-exitcode 9; }
counted() { # one launch of a kernel in a benchmark: how many go before it, the kernel, the benchmark
  local before=$1 kernel=$2
  shift 2
  ncu --clock-control none --set basic --section SpeedOfLight --section WarpStateStats --kernel-name "regex:$kernel" \
    --launch-skip "$before" --launch-count 1 python3 "$@"
}
profile() { # the first launch is that of a check, but for a build, whose first is its base level
  local walk=(bench/gpu/graph.py --rows 300000 --codes i8 --ef 64)
  counted 1 'flat_(stream|tiles)' bench/gpu/flat.py --codes bf16 --batches 1
  counted 1 'flat_(stream|tiles)' bench/gpu/flat.py --codes bf16 --batches 10000
  counted 0 prune_candidates "${walk[@]}"
  counted 1 walk_kernel "${walk[@]}"
  counted 1 pool_bags bench/gpu/bags.py --dtype i8
}

[ $# -gt 0 ] || set -- build tests memcheck racecheck flat graph bags
files=(tables flat_index graph_index graph_build)
steps=()
for step in "$@"; do
  case $step in
  memcheck | racecheck) steps+=("${files[@]/#/$step:}") ;;
  *) steps+=("$step") ;;
  esac
done
failed=0
for step in "${steps[@]}"; do
  echo "== $step"
  part=${step#*:}
  case $step in
  build) build ;;
  tests) suite "" ;;
  tests:*) suite "$part" ;;
  memcheck:* | racecheck:*) sanitized "${step%%:*}" "$part" ;;
  profile) profile ;;
  flat | graph | bags) python3 "bench/gpu/$step.py" ;;
  *) echo "no such step" && false ;;
  esac 2>&1 | tee "$out/$step.txt" || failed=1
done
exit $failed
