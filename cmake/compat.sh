#!/usr/bin/env bash
# Which compilers take the library: those of Debian 12, with warnings as errors. A user's program with
# the umbrella header is compiled and run in C++20 and C++23, with libc++ and for 32 bits; a test with
# this machine's Catch2. What cannot be installed is left out. Prints a table, fails if something else
# fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source cmake/setup.sh
install_packages "${packages_build[@]}" "${packages_tests[@]}" "${packages_clang[@]}"

build=build/compat
mkdir -p $build
warnings=(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
include=(-Iinclude -Itests -isystem /usr/include/eigen3)
user=tests/consumer/main.cpp
catch2_test=tests/sequence/view_test.cpp
failed=0 rows=0

# The outcome of compiling a file: yes, FAILS or, where this compiler has no such library, "none".
outcome() { # LOG COMMAND FILE FLAGS...
  local log=$1 compiler=$2 file=$3
  shift 3
  if ! echo '#include <vector>' | $compiler -x c++ -fsyntax-only "$@" - >"$log" 2>&1; then
    echo none
  elif [[ $file == "$user" ]]; then
    if $compiler -O2 "${warnings[@]}" "${include[@]}" "$@" "$file" -o "$log.out" >"$log" 2>&1 &&
      "$log.out" >>"$log" 2>&1; then
      echo yes
    else
      echo FAILS
    fi
  elif $compiler -fsyntax-only "${warnings[@]}" "${include[@]}" "$@" "$file" >"$log" 2>&1; then
    echo yes
  else
    echo FAILS
  fi
}

version_of() { dpkg-query -W -f '${Version}' "$1" 2>/dev/null | sed 's/^[0-9]*://; s/-.*//'; }
echo "Eigen $(version_of libeigen3-dev), Catch2 $(version_of catch2)," \
  "libc++ $(version_of libc++-dev), on $(uname -m)"
row() { printf '%-12s %-7s %-7s %-7s %-8s %s\n' "$@"; }
row compiler C++20 C++23 libc++ "32 bits" Catch2

for compiler in g++-11 g++-12 clang++-13 clang++-14 clang++-15 clang++-16; do
  if ! install_packages "${compiler/clang++/clang}" >$build/install.log 2>&1; then
    echo "$compiler cannot be installed"
    continue
  fi
  log=$build/$compiler
  in_20=$(outcome $log.20 $compiler $user -std=c++20)
  in_23=$(outcome $log.23 $compiler $user -std=c++2b)
  libcxx=none
  if [[ $compiler == clang++* ]]; then
    libcxx=$(outcome $log.libcxx $compiler $user -std=c++20 -stdlib=libc++)
  elif ! install_packages $compiler-multilib >$build/install.log 2>&1; then
    echo "$compiler-multilib cannot be installed"
  fi
  # Without gcc-multilib, which is at odds with cross compilers, asm/ has to be pointed at.
  bits=$(outcome $log.32 $compiler $user -std=c++20 -m32 -idirafter /usr/include/x86_64-linux-gnu)
  catch2=$(outcome $log.catch2 $compiler $catch2_test -std=c++20)
  results=("$in_20" "$in_23" "$libcxx" "$bits" "$catch2")
  row $compiler "${results[@]}"
  rows=$((rows + 1))
  [[ $in_20 == yes && ${results[*]} != *FAILS* ]] || failed=1
done
[[ $failed == 0 ]] || echo "FAILS: what the compiler said lies in $build"
[[ $rows -gt 0 ]] || failed=1
exit $failed
