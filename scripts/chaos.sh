#!/usr/bin/env bash
# All scenarios with real processes that fail: kills, full disks, hosts that are cut
# off, storage that fails; and, unless there are arguments, a writer of the record that
# is struck at its system calls: at POSITIONS of them in each of the tests, drawn anew
# each time (500; 0: at all of some 4,400, which takes two hours more). Run as root:
# hosts get networks of their own. Arguments go to the tests, as -run, -seed, or
# -tally FILE, with which kill cycles go on where an earlier run was ended. CYCLES=1500
# makes fewer of these than 10,000.
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in ip nft strace; do
	command -v "$tool" >/dev/null || { printf '%s is missing: install iproute2, nftables and strace\n' "$tool" >&2; exit 1; }
done
STINT_TEST_S3_SERVER=$(scripts/s3-server.sh)
export STINT_TEST_S3_SERVER
[ $# -gt 0 ] || go test -count=1 -timeout 6h -v ./internal/store -run Writer -positions "${POSITIONS:-500}"
go test -count=1 -timeout 6h -v ./test/chaos -all -walk 0 -passings 1,2,3,7 -cycles "${CYCLES:-10000}" -settings 60 "$@"
