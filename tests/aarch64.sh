#!/usr/bin/env bash
# Compiles tests for aarch64 and runs them under qemu: those of the kernels, or the given files.
#   tests/aarch64.sh [FILE...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source cmake/setup.sh
install_packages "${packages_build[@]}" "${packages_tests[@]}" g++-aarch64-linux-gnu qemu-user

files=("$@")
[[ $# -gt 0 ]] || files=(tests/{laws/covariance,laws/execution_float,laws/execution_double,gradient/float,gradient/latent,segments/scan,scan/ragged,decoder/decoder}_test.cpp)

# This machine's packages, but for what has libraries: /usr/include as a whole has its C library.
build=build/aarch64
mkdir -p $build/include
ln -sfn /usr/include/{boost,catch2,ceres,nlohmann} $build/include
compile=(aarch64-linux-gnu-g++ -std=c++20 -O1 -DNDEBUG -Wall -Wextra -Wno-restrict -Werror -Iinclude -Itests
         -isystem /usr/include/eigen3 -isystem $build/include)
"${compile[@]}" -DCATCH_CONFIG_MAIN -include catch2/catch.hpp -x c++ -c /dev/null -o $build/main.o

for file in "${files[@]}"; do mkdir -p "$build/$(dirname "$file")"; done
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -I{} "${compile[@]}" -c {} -o $build/{}.o
for file in "${files[@]}"; do
  "${compile[@]}" "$build/$file.o" $build/main.o -o "$build/$file.test"
  echo "$file:"
  qemu-aarch64 -L /usr/aarch64-linux-gnu "$build/$file.test" | tail -n 2
done
