# shellcheck shell=bash disable=SC2034
# Sourced by the run scripts: installs missing Debian packages. Does nothing, and needs no network,
# where all of them are installed.

packages_build=(g++ cmake ninja-build libeigen3-dev)
packages_benchmarks=(libbenchmark-dev)
packages_studies=(libcli11-dev libfmt-dev nlohmann-json3-dev gnuplot-nox)
packages_tests=(catch2 libboost-dev libceres-dev nlohmann-json3-dev pkg-config)
# Of the preset default alone. Without OpenBLAS libtorch takes three times as long; OpenBLAS on
# threads of its own ignores at::set_num_threads, so that trainings side by side wait for each other.
packages_torch=(libtorch-dev libopenblas0-openmp)
packages_mpi=(libopenmpi-dev openmpi-bin iproute2)
# llvm: names in the sanitizers' reports
packages_clang=(clang libclang-rt-dev libc++-dev libc++abi-dev llvm)

# install_packages NAME...
install_packages() {
  if ! command -v apt-get >/dev/null; then
    echo "No apt-get here: expecting the equivalents of Debian's $*" >&2
    return
  fi
  local name missing=()
  for name in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] ||
      missing+=("$name")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  echo "Installing ${missing[*]}"
  local as_root=()
  [[ $(id -u) == 0 ]] || as_root=(sudo)
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}"
}
