#!/usr/bin/env bash
# Install the S3 server of the tests where internal/object/s3test looks for it, so
# that no test has to build it. Prints its path.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -n "${STINT_TEST_S3_SERVER:-}" ]; then
	printf '%s\n' "$STINT_TEST_S3_SERVER"
	exit
fi
source=internal/object/s3test/server.go
module=$(sed -n 's/^\tmodule *= "\(.*\)"$/\1/p' "$source")
release=$(sed -n 's/^\trelease *= "\(.*\)"$/\1/p' "$source")
dir=${XDG_CACHE_HOME:-$HOME/.cache}/stint-test/$release
if [ ! -x "$dir/versitygw" ]; then
	mkdir -p "$dir"
	fresh=$(mktemp -d "$dir/build-XXXXXX")
	trap 'rm -rf "$fresh"' EXIT
	GOBIN=$fresh CGO_ENABLED=0 GOFLAGS='' go install "$module@$release"
	mv "$fresh/versitygw" "$dir/versitygw"
fi
printf '%s\n' "$dir/versitygw"
