#!/usr/bin/env bash
# Builds the example program inspect_stream, runs it on a recorded stream and opens its report.
# Arguments go to the program; without a file among them it reads the stream shipped here.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/examples
stream=$root/examples/data/stream_niah_multikey_512.layer3.safetensors
source "$root/cmake/setup.sh"

install_packages "${packages_build[@]}" "${packages_studies[@]}"
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSEQBAYES_NATIVE=ON \
  -DSEQBAYES_BUILD_STUDIES=ON >/dev/null
cmake --build "$build" --target inspect_stream

for argument in "$@"; do
  if [[ -f $argument ]]; then stream=; fi
done
"$build/examples/inspect_stream" ${stream:+"$stream"} "$@" | tee "$build/output.txt"

report=$(sed -n 's/^Report: //p' "$build/output.txt")
if [[ -f $report && -n ${DISPLAY:-}${WAYLAND_DISPLAY:-} ]] && command -v xdg-open >/dev/null; then
  xdg-open "$report"
fi
