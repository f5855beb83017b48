#!/usr/bin/env bash
# What only a GPU can tell, in ten minutes on one: the tests that need it, then bench_gpu.py.
#
#   benchmarks/gpu_check.sh                          # results in build/gpu, or in the folder that OUT names
#   benchmarks/gpu_check.sh --device cpu --tiny      # a rehearsal without a GPU; options are those of bench_gpu.py
#
# PYTHON names another interpreter than .venv/bin/python; NNUNET_PEER and NNUNET_PYTHON are as in bench_gpu.py.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "${OUT:-build/gpu}" && realpath "${OUT:-build/gpu}") || exit
python=${PYTHON:-.venv/bin/python}
export PYTHONUNBUFFERED=1 PYTHONPATH=$PWD

{
    date -u
    git log -1 --format='fran %h %s' 2> /dev/null
    nvidia-smi 2> /dev/null || echo "no nvidia-smi"
    "$python" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())'
    lscpu | grep -E '^(Model name|CPU\(s\))'
} > "$out/machine.txt" 2>&1

mapfile -t tests < <(grep -rl --include='test_*.py' 'mark\.gpu' tests)
timeout 240 "$python" -m pytest -q -m gpu --durations=10 -p no:cacheprovider "${tests[@]}" 2>&1 | tee "$out/tests.txt"
tested=$?
timeout 330 "$python" benchmarks/bench_gpu.py --minutes 4 "$@" 2> >(tee "$out/bench_gpu.log" >&2) | tee "$out/bench_gpu.jsonl"
measured=$?

echo "results are in $out; exit statuses: tests $tested, benchmark $measured"
exit $((tested > measured ? tested : measured))
