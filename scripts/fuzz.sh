#!/usr/bin/env bash
# Fuzzes every target of the given packages (all by default) for a while each:
#   scripts/fuzz.sh TIME [PACKAGE…]
# An input that breaks a rule is written below the package's testdata and named; a
# plain test run has it from then on.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?usage: scripts/fuzz.sh TIME [PACKAGE…]}
shift
[ $# -gt 0 ] || set -- ./...
out=$(mktemp)
trap 'rm -f "$out"' EXIT
began=$SECONDS targets=0
while read -r package dir; do
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9]+' "$dir"/*_test.go 2>/dev/null | cut -c6- | sort); do
		# Five seconds more than asked for are left to inputs that are being made smaller.
		# Before Go 1.27 a target may fail of the end of its time alone (go.dev/issue/75804): it is run again.
		for _ in 1 2 3; do
			status=0
			go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 5s >"$out" 2>&1 || status=$?
			[ $status -ne 0 ] && grep -qx '    context deadline exceeded' "$out" && ! grep -q 'Failing input\|panic' "$out" || break
		done
		if [ $status -ne 0 ]; then
			cat "$out"
			echo "$target of $package found something" >&2
			exit 1
		fi
		targets=$((targets + 1))
	done
done < <(go list -f '{{.ImportPath}} {{.Dir}}' "$@")
echo "$targets fuzz targets, $time each, in $((SECONDS - began)) s"
