#!/usr/bin/env bash
# The paper's tasks at their full lengths, on one accelerator:
#
#     experiments/gpu_sweep.sh SECONDS OUT TASK... [-- OPTION...]
#
# Does what fits into SECONDS, task by task and seed by seed, and packs all that is stored by then into OUT/packed.
# Interrupted or out of time, the same command does the rest. JOBS runs share the device (16). What follows -- goes to
# `python -m experiments run`. The same in small, on a CPU, in a minute:
#
#     JOBS=2 experiments/gpu_sweep.sh 60 /tmp/sweep mnist -- --seeds 1 --epochs 1 --device cpu
set -uo pipefail
cd "$(dirname "$0")/.."

seconds=$1 out=$2
shift 2
tasks=()
while (($#)) && [[ $1 != -- ]]; do tasks+=("$1"); shift; done
(($#)) && shift

# Processes take turns on a device, a kernel at a time, unless NVIDIA's multi-process service lets them run side by side.
if command -v nvidia-cuda-mps-control >/dev/null && nvidia-cuda-mps-control -d; then
    trap 'echo quit | nvidia-cuda-mps-control' EXIT
fi

# SIGINT ends a sweep as Ctrl-C does: what is finished stays, what is not was never stored.
timeout --signal=INT --kill-after=10 "$seconds" "${PYTHON:-python3}" -m experiments run "${tasks[@]}" \
    --no-report --jobs "${JOBS:-16}" --out "$out/runs" "$@" >>"$out.log" 2>&1
echo "${tasks[*]}: exit code $?, $(find "$out/runs" -name 'seed-*.json' | wc -l) runs stored after $SECONDS s"
"${PYTHON:-python3}" -m experiments pack "$out/runs" "$out/packed"
