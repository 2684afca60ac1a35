#!/bin/bash
# A CI job that fails when a limit does not bite: boots the project's VM (a machine on which cgroup limits are real also
# where the CI's own is not), runs a spec under the probes, and checks what they measured.
#
#   examples/ci/limits.sh [SPEC]     default: examples/probe.json, 500m and 64Mi
#
# Writes limits.json, limits.html and junit.xml into $OUT (default: ./limits). Exit status 1: a limit did not bite, or it
# could not be measured, which is no pass either.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
repository=$(readlink -f "$here/../..")
spec=$(readlink -f "${1:-$repository/examples/probe.json}")
out=$(readlink -m "${OUT:-limits}")
mkdir -p "$out"
cd "$repository"
make build
status=0
vm/run --timeout 600 --out "$out" -- build/minirun probe run throttle.1t oom.anon oom.group --both --inside "$spec" \
	--json "$out/limits.json" --junit "$out/junit.xml" \
	--expect 'throttle.effective_cores<=0.55' \
	--expect 'throttle.ratio>=0.4' \
	--expect 'throttle.effective_cores@host>=0.6' \
	--expect 'oom.anon.peak>=63Mi' --expect 'oom.anon.peak<=65Mi' \
	--expect 'oom.anon.kills==1' --expect 'oom.anon.kills@host==0' \
	--expect 'oom.group.kills>=3' || status=$?
[ ! -s "$out/limits.json" ] || build/minirun probe report "$out/limits.json" --html "$out/limits.html"
exit "$status"
