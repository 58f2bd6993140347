#!/bin/sh
# The experiment of docs/prediction.md. Usage: prediction.sh BUILD SHARED [TOKENS]; a few minutes. First: ninja predict_bench
set -e
build=$1 shared=$2 tokens=${3:-6000}
bundle=$(mktemp -d)/model.emoe
"$build/bin/emoec" compile -q "$shared/models/bookmoe-28m/hf5/model.onnx" -o "$bundle" --target host --lossless
data=$shared/data
for fit in prose cpp python; do
  echo "## Calibrated on $fit"
  "$build/bin/predict_bench" "$bundle" "$tokens" --fit "$data"/calib_$fit.txt \
    --judge "$data"/eval_prose.txt "$data"/eval_cpp.txt "$data"/eval_python.txt
done
echo "## Calibrated on all three"
"$build/bin/predict_bench" "$bundle" "$tokens" --fit "$data"/calib_prose.txt "$data"/calib_cpp.txt "$data"/calib_python.txt \
  --judge "$data"/eval_prose.txt "$data"/eval_cpp.txt "$data"/eval_python.txt
for trace in olmoe-1b-7b.jsonl gpt-oss-120b.csv; do
  "$build/bin/predict_bench" --trace "$shared/traces/$trace"
done
rm -r "$(dirname "$bundle")"
