#!/usr/bin/env bash
# Stops an execution of 2,000 operations twice and has it go on elsewhere, each
# time with less of what was there before, and counts how often each operation
# was performed. Fails if one was performed twice or the output is not the one of
# a run that nobody disturbed.
set -euo pipefail
cd "$(dirname "$0")/.."
stint=$PWD/bin/stint
operations=2000
work=$(mktemp -d "${TMPDIR:-/tmp}/stint-resume-XXXXXX")
storage=$work/storage
performed=$work/performed
unset STINT_SERVER STINT_TOKEN STINT_CA_FILE

trap 'pkill -9 -f -- "--data $work/" || true; cd /; rm -rf "$work"' EXIT
cd "$work"

say() { printf '\n== %s\n' "$*"; }
fail() { printf '\nNOT AS PROMISED: %s\n' "$*" >&2; exit 1; }

# up NODES: starts a service on the data folder and waits for its nodes.
up() {
	"$stint" up --data "$STINT_DATA" --nodes "$1" --slots 1 --listen 127.0.0.1:0 "${@:2}" 2>>"$work/up.log" &
	disown # that it is killed is no news
	for _ in $(seq 300); do
		[ "$("$stint" node list --json 2>/dev/null | grep -c '"status": "ready"')" = "$1" ] && return
		kill -0 $! 2>/dev/null || break
		sleep 0.1
	done
	cat "$work/up.log" >&2
	exit 1
}

# kill_everything kills the service on the data folder and all of its agents.
kill_everything() {
	pkill -9 -f -- "--data $STINT_DATA"
	while pgrep -f -- "--data $STINT_DATA" >/dev/null; do sleep 0.05; done
}

# performances N: waits until operations were performed so many times.
performances() {
	until [ "$(wc -l <"$performed")" -ge "$1" ]; do sleep 0.02; done
}

lines() { wc -l <"$1" | tr -d ' '; }

seq -f 'record-%06g' 1 $operations >input.txt # one line of 14 bytes for each operation
cat >map.sh <<'END'
read -r first
echo "$first" >>"$PERFORMED"
echo "$first"
exec cat
END
arguments=(--map 'sh map.sh' --reduce cat --partitions 4 --file map.sh --subset-size 14 --input input.txt)

say "A run that nobody disturbs"
touch undisturbed.txt
"$stint" run "${arguments[@]}" --env "PERFORMED=$work/undisturbed.txt" --output undisturbed --data "$work/other" --nodes 3 --slots 1
[ "$(lines undisturbed.txt)" = $operations ] || fail "the undisturbed run performed $(lines undisturbed.txt) operations"

export STINT_DATA=$work/data
touch "$performed"
say "A service with three agents; suspended at a third"
up 3 --storage "$storage"
id=$("$stint" run "${arguments[@]}" --env "PERFORMED=$performed" --output output --detach)
performances $((operations / 3))
"$stint" suspend "$id"
first=$(lines "$performed")

say "Everything is killed, the agents' folders are removed"
kill_everything
rm -rf "$STINT_DATA/agents"

say "A service with two agents; resumed, suspended at two thirds"
up 2 --storage "$storage"
"$stint" resume "$id" --detach
performances $((2 * operations / 3))
"$stint" suspend "$id"
second=$(lines "$performed")

say "Everything is killed, the data folder is deleted; the storage is all there is"
kill_everything
rm -rf "$STINT_DATA"
find "$storage/saved" -type f -printf '  %8s  %P\n' | sort -k2

say "Another service, with one agent; resumed from the storage"
export STINT_DATA=$work/elsewhere
"$stint" resume "$id" --from "$storage" --nodes 1 --slots 1

say "What came of it"
total=$(lines "$performed")
sort "$performed" | uniq -d >twice
printf '%-52s %6d\n' \
	"operations" $operations \
	"performances before the first suspend" "$first" \
	"performances between the suspends" $((second - first)) \
	"performances after the second" $((total - second)) \
	"operations that ran twice" "$(lines twice)" \
	"operations that never ran" $((operations - $(sort -u "$performed" | wc -l)))
[ "$total" = $operations ] && [ ! -s twice ] || fail "$total performances of $operations operations"
for part in undisturbed/part-*; do
	cmp "$part" "output/$(basename "$part")" || fail "the output differs"
done
[ "$(ls output | tr '\n' ' ')" = "$(ls undisturbed | tr '\n' ' ')" ] || fail "the outputs have other files: $(ls output)"
printf 'the output is that of the undisturbed run, byte for byte: %s\n' "$(cat output/part-* | sha256sum | cut -c1-16)…"
# What says that it has ended is for the service that has suspended it.
left=$(find "$storage/saved" -type f ! -name ended 2>/dev/null | wc -l)
[ "$left" = 0 ] || fail "$left objects of the saved state are left in storage"
say "As promised"
