#!/bin/bash
# Makes the golden vectors of mode hadoop anew: by real Hadoop Streaming in its
# local mode. Needs a JDK of version 17, mvn and python3.
#
#   scripts/hadoop-vectors/run.sh FOLDER    FOLDER is for scratch and jars
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
folder=${1:?folder for scratch}
mkdir -p "$folder"
mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$(cd "$folder" && pwd)/jars"
javac -encoding UTF-8 -cp "$folder/jars/*" -d "$folder" "$here"/*.java
java -Dfile.encoding=UTF-8 -cp "$folder/jars/*:$folder" KeyFields 2>/dev/null >"$root/internal/shuffle/testdata/keyfields.txt"
python3 "$here/run.py" "$root/internal/worker/testdata/hadoop.json" "$folder"
