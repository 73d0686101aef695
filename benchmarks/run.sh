#!/usr/bin/env bash
# Builds the benchmarks, tuned for this machine, and runs them. Arguments go to the program; without
# any it prints the tables of docs/performance.md.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/cmake/setup.sh"

install_packages "${packages_build[@]}" "${packages_benchmarks[@]}"
cd "$root"
cmake --workflow --preset benchmark
build/benchmark/benchmarks/seqbayes_benchmarks "$@"
