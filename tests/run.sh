#!/usr/bin/env bash
# Builds and runs the tests. PRESET (default, clang, sanitize) may be given: tests/run.sh [PRESET]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
preset=${1:-default}
source "$root/cmake/setup.sh"

install_packages "${packages_build[@]}" "${packages_tests[@]}" "${packages_studies[@]}" \
  "${packages_benchmarks[@]}"
if [[ $preset == default ]]; then
  install_packages "${packages_torch[@]}" "${packages_mpi[@]}"
else
  install_packages "${packages_clang[@]}"
fi

cd "$root"
cmake --preset "$preset"
cmake --build --preset "$preset" --parallel "$(nproc)"
ctest --preset "$preset"
