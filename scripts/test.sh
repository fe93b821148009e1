#!/usr/bin/env bash
# Every check there is, in one place: people and CI run this and nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
began=$SECONDS

step() { printf '== %s (%d s)\n' "$1" $((SECONDS - began)); }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

need=()
command -v python3 >/dev/null || need+=(python3)
command -v mawk >/dev/null || need+=(mawk)
command -v gcc >/dev/null || need+=(gcc)
[ -e /usr/include/stdlib.h ] || need+=(libc6-dev)
command -v ip >/dev/null || need+=(iproute2)
command -v nft >/dev/null || need+=(nftables)
command -v strace >/dev/null || need+=(strace)
if [ ${#need[@]} -gt 0 ]; then
	step "install ${need[*]}"
	as_root apt-get update -qq
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi

step "S3 server of the tests"
STINT_TEST_S3_SERVER=$(scripts/s3-server.sh)
export STINT_TEST_S3_SERVER

step "format"
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { printf 'not formatted:\n%s\n' "$unformatted"; exit 1; }

step "vet"
go vet ./...

# The race detector makes packages that link SQLite slow: of those it sees the
# tests in bubbles, which are about loops and protocols.
sqlite=$(go list -test -f '{{if not .ForTest}}{{$p := .ImportPath}}{{range .Deps}}{{if eq . "modernc.org/sqlite"}}{{$p}}{{"\n"}}{{end}}{{end}}{{end}}' ./... | sed 's/\.test$//' | sort -u | sed '/^$/d')
# It sees nothing in the simulation, of which each seed is one goroutine: without it all
# seeds are run, and the fault matrix is compared with its document.
simulation=stint/internal/sim
rest=$(go list ./... | grep -v /test/ | grep -vxF "$sqlite" | grep -vxF "$simulation")
plain=$(printf '%s\n' "$sqlite" "$simulation" | grep -v /test/)

step "unit tests and simulation"
go test -race -timeout 30m $rest
# shellcheck disable=SC2086 # a list of packages
go test -timeout 30m -skip '^TestBubble' $plain

step "bubbles of the shells that stand on SQLite"
go test -race -timeout 15m -run '^TestBubble' ./internal/server ./cmd/stint

step "end-to-end tests"
go test -count=1 -timeout 15m ./test/e2e

step "kill cycles, hosts that are cut off, storage that fails"
go test -count=1 -timeout 15m ./test/chaos

step "passed"
