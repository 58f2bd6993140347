#!/usr/bin/env bash
# From nothing to text: installs what is missing, builds, compiles the model that ships with the project, and streams
# text from it with memory for only half of its experts.
set -euo pipefail
cd "$(dirname "$0")/.."
threads=$(nproc)

tools/setup.sh build
echo "demo: building (the first time takes some minutes)" >&2
cmake --preset release -DEMOE_BUILD_TESTS=OFF >/dev/null
cmake --build build --parallel "$threads" --target emoec emoe-rt

model=build/bookmoe-5m.emoe
build/bin/emoec compile test/models/bookmoe-5m/model.onnx -o "$model"

# The budget that holds half of the expert records.
budget=$(build/bin/emoe-rt plan "$model" --json | python3 -c '
import json, sys
plan = json.load(sys.stdin)
print(plan["recommended"] - plan["records"] // 2 * plan["record_bytes"])')
echo "demo: emoe-rt run $model --memory-budget $budget" >&2
build/bin/emoe-rt run "$model" --memory-budget "$budget" --prompt '"Well," said the' -n 96 --seed 1 --stats
