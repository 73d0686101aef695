#!/usr/bin/env bash
# What it costs to compile the headers and single layers: user seconds and bytes of machine code.
#   compile_cost.sh COMPILER FLAG...    (needs -I for seqbayes and Eigen; the target
#                                       seqbayes_compile_cost gives them)
set -euo pipefail
compiler=("$@")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export LC_ALL=C
TIMEFORMAT=%U

# cost NAME: the translation unit on standard input
cost() {
  cat >"$scratch/unit.cpp"
  local seconds bytes
  seconds=$({ time "${compiler[@]}" -c "$scratch/unit.cpp" -o "$scratch/unit.o" 1>&2; } 2>&1 |
    tail -n 1)
  bytes=$(size -A "$scratch/unit.o" | awk '$1 ~ /^\.text/ { sum += $2 } END { print sum + 0 }')
  printf '| %s | %s | %s |\n' "$1" "$seconds" "$bytes"
}

# layer TYPE CALL: a function that makes one call
layer() {
  cost "$1, ${2%%(*}" <<UNIT
#include <seqbayes/seqbayes.hpp>
using Layer = seqbayes::$1;
auto use(const Layer& layer, Layer::State& state, const seqbayes::Sequence<float>& x) {
  return $2;
}
UNIT
}

"${compiler[@]}" --version | head -n 1
printf '| | user s | bytes of code |\n| --- | --- | --- |\n'
cost 'Eigen/Core alone' <<<'#include <Eigen/Core>'
cost 'seqbayes/seqbayes.hpp alone' <<<'#include <seqbayes/seqbayes.hpp>'
layer 'GatedDeltaNet<float, 64, 64>' 'layer.step(state, x.token(0))'
for widths in ', 64, 64' ''; do
  layer "LinearAttention<float$widths>" 'scan(layer, state, x)'
  layer "GatedDeltaNet<float$widths>" 'scan(layer, state, x)'
  layer "KimiDeltaAttention<float$widths>" 'scan(layer, state, x)'
  layer "BayesianLayer<float$widths>" 'scan(layer, state, x)'
done
layer 'BayesianLayer<float, 64, 64>' 'scan_mean(layer, state, x)'
