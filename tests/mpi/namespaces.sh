#!/usr/bin/env bash
# Runs a program of MPI on two hosts: network namespaces with host names of their own, joined by a
# virtual cable. Needs root and leave to make them; ends with 77 where that is missing.
#   namespaces.sh RANKS PROGRAM ARGUMENT...
set -euo pipefail
ranks=$1
shift
id=sb$$
remove() { ip netns del "$id-a" 2>/dev/null; ip netns del "$id-b" 2>/dev/null; }
trap 'remove; rm -f "$agent"' EXIT
agent=$(mktemp)
{ ip netns add "$id-a" && ip netns add "$id-b" &&
  ip -n "$id-a" link add v0 type veth peer name v0 netns "$id-b"; } 2>/dev/null || exit 77
number=0
for host in a b; do
  ip -n "$id-$host" address add "10.77.0.$((++number))/24" dev v0
  ip -n "$id-$host" link set v0 up
  ip -n "$id-$host" link set lo up
done
# What mpirun starts the other host's processes by: AGENT HOST COMMAND...
printf '#!/bin/sh\nshift\nexec ip netns exec %s-b unshare --uts sh -c "hostname %s-b; $*"\n' "$id" "$id" >"$agent"
chmod +x "$agent"
# shellcheck disable=SC2016 # the shell inside expands them
ip netns exec "$id-a" unshare --uts sh -c 'hostname "$0"; exec "$@"' "$id-a" \
  mpirun -n "$ranks" --host 10.77.0.1:8,10.77.0.2:8 --map-by node --mca plm_rsh_agent "$agent" \
  --mca oob_tcp_if_include 10.77.0.0/24 --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 "$@"
for host in a b; do
  echo "bytes sent: $(ip netns exec "$id-$host" cat /sys/class/net/v0/statistics/tx_bytes)"
done
