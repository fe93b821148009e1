#!/usr/bin/env bash
# Counts the words of the Go source tree on a server and three agents, all of
# them processes of their own on loopback, and ends them again.
set -euo pipefail
cd "$(dirname "$0")/.."
stint=$PWD/bin/stint
work=$(mktemp -d "${TMPDIR:-/tmp}/stint-demo-XXXXXX")
export STINT_DATA=$work/data

"$stint" up --nodes 3 --listen 127.0.0.1:0 2>"$work/up.log" &
up=$!
trap 'kill "$up" 2>/dev/null; wait "$up" 2>/dev/null || true' EXIT

for _ in $(seq 100); do
	[ "$("$stint" node list --json 2>/dev/null | grep -c '"status": "ready"')" = 3 ] && break
	kill -0 "$up" 2>/dev/null || { cat "$work/up.log"; exit 1; }
	sleep 0.1
done
printf 'The service:\n'
ps -o pid=,args= --ppid "$up" | cut -c1-110
printf '\nIts nodes:\n'
"$stint" node list

printf '\nstint run wordcount --input %s --compression none --output %s\n' "$(go env GOROOT)/src" "$work/output"
"$stint" run wordcount --input "$(go env GOROOT)/src" --compression none --output "$work/output" --name demo

printf '\nThe commonest words:\n'
sort -t "$(printf '\t')" -k2,2nr -k1,1 "$work"/output/part-* 2>/dev/null | head -n 15 || true
printf '\nThe whole result: %s\n' "$work/output"
ls "$work/output"
