#!/usr/bin/env bash
# What a machine with a card shows in one go: builds the module, runs its tests, looks for bad accesses and races, times
# everything. Takes the python3 on the path, which needs torch with CUDA, numpy, pytest and pybind11, and cmake, ninja and
# nvcc; installs nothing.
#
#     bench/gpu/all.sh [build tests memcheck racecheck flat graph bags profile]    (default: all but the last)
#
# `profile` reads the counters of the kernels that search, build and pool, by Nsight Compute.
#
# What a step prints is also written to $OUT/<step>.txt (default: build/gpu).
set -uo pipefail
cd "$(dirname "$0")/../.."
out=${OUT:-build/gpu}
mkdir -p "$out"
export PYTHONPATH=$PWD/python PYTHONUNBUFFERED=1

build() {
  cmake -S . -B build/cuda -G Ninja -DCMAKE_BUILD_TYPE=Release -DSEMBLANCE_CUDA=ON \
    -DCMAKE_CUDA_ARCHITECTURES="${ARCHITECTURES:-90a-real}" -DPython_EXECUTABLE="$(command -v python3)" \
    -Dpybind11_DIR="$(python3 -m pybind11 --cmakedir)" &&
    cmake --build build/cuda --parallel
}
suite() { "$@" python3 -m pytest -q -m gpu tests/gpu; }
sanitized() { suite compute-sanitizer --tool "$1" --error-exitcode 9; }
counted() { # the first launches of a kernel in a benchmark
  local kernel=$1
  shift
  ncu --clock-control none --set basic --section SpeedOfLight --section WarpStateStats --kernel-name "regex:$kernel" \
    --launch-count 2 python3 "$@"
}
profile() {
  counted 'flat_(stream|tiles)' bench/gpu/flat.py --codes bf16 --batches 1
  counted 'flat_(stream|tiles)' bench/gpu/flat.py --codes bf16 --batches 10000
  counted 'walk_kernel|prune_candidates' bench/gpu/graph.py --rows 300000 --codes i8 --ef 64
  counted 'pool_bags' bench/gpu/bags.py
}

[ $# -gt 0 ] || set -- build tests memcheck racecheck flat graph bags
failed=0
for step in "$@"; do
  echo "== $step"
  case $step in
  build) build ;;
  tests) suite ;;
  memcheck | racecheck) sanitized "$step" ;;
  profile) profile ;;
  flat | graph | bags) python3 "bench/gpu/$step.py" ;;
  *) echo "no such step" && false ;;
  esac 2>&1 | tee "$out/$step.txt" || failed=1
done
exit $failed
