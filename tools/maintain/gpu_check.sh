#!/usr/bin/env bash
# Everything that has to be tried on a GPU, into one folder:
#
#   tools/maintain/gpu_check.sh FOLDER            on a machine with a GPU
#   tools/maintain/gpu_check.sh FOLDER --dry-run  on a CPU, a few iterations of each, to see that it runs
#
# A step that fails doesn't end the others; summary.txt says which did, and how long each took.
set -uo pipefail
cd "$(dirname "$0")/../.."
folder=${1:?usage: tools/maintain/gpu_check.sh FOLDER [--dry-run]}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
python=${PYTHON:-.venv/bin/python}
export DETECTRON2_DATASETS=${DETECTRON2_DATASETS:-$folder/datasets}

if [ "${2:-}" = --dry-run ]; then
    short=(train.max_iter=4 train.eval_period=0 train.checkpointer.period=2 train.device=cpu)
    precisions=(bf16) benchmark=(--image-size 96 128 --repeats 1 --warm-up 0) images=(--train-images 20 --val-images 4) pretrain=8
    sizes=(small) mae=(train.max_iter=4 dataloader.train.total_batch_size=4) seeds='train.seed=0,1'
    device=(train.device=cpu) rois=('model.proposal_generator.post_nms_topk=[20,20]')
else
    short=() precisions=(bf16 fp16) benchmark=(--repeats 20 --warm-up 5) images=() pretrain=20000
    sizes=(small base large) mae=(train.max_iter=15000 train.amp.enabled=true) seeds='train.seed=range(5)'
    device=() rois=()
fi

failed=0
step() {
    local name=$1 start=$SECONDS
    shift
    if "$@" >"$folder/$name.log" 2>&1; then state=done; else state=FAILED failed=1; fi
    echo "$state  $((SECONDS - start)) s  $name" | tee -a "$folder/summary.txt"
}
train() { "$python" train_net.py --config-file "$@"; }
stop_and_resume() { # the first run is ended by SIGTERM as soon as it has saved something
    local output=$1
    shift
    # Not by the function above: the signal is for Python, not for a shell around it.
    "$python" train_net.py --config-file configs/quickstart.py "$@" train.output_dir="$output" &
    local run=$!
    until [ -e "$output/last_checkpoint" ] || ! kill -0 $run 2>/dev/null; do sleep 1; done
    kill -TERM $run 2>/dev/null
    wait $run
    train configs/quickstart.py --resume "$@" train.output_dir="$output"
}

"$python" -c 'import torch; print(torch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())' \
    >"$folder/summary.txt"
step shapes "$python" datasets/prepare_shapes.py --output "$DETECTRON2_DATASETS/shapes" \
    --max-objects 4 --min-object 0.25 --class-colours ${images[@]+"${images[@]}"}
step shapes_scales "$python" datasets/prepare_shapes.py --output "$DETECTRON2_DATASETS/shapes_scales" \
    --class-colours --pretrain-images "$pretrain" ${images[@]+"${images[@]}"}

step tests "$python" -m pytest -m gpu
for precision in "${precisions[@]}"; do
    step "quickstart_$precision" stop_and_resume "$folder/quickstart_$precision" \
        train.amp.enabled=true train.amp.dtype="$precision" train.checkpointer.period=500 \
        ${short[@]+"${short[@]}"}
done
for size in "${sizes[@]}"; do
    [ ${#short[@]} -gt 0 ] || step "batch_size_$size" "$python" tools/find_batch_size.py \
        --config-file "configs/custom/imted_mask_rcnn_vit_$size.py" train.output_dir="$folder/batch" \
        dataset.train_json="$DETECTRON2_DATASETS/shapes/train.json" dataset.train_images="$DETECTRON2_DATASETS/shapes/train" \
        dataset.val_json="$DETECTRON2_DATASETS/shapes/val.json" dataset.val_images="$DETECTRON2_DATASETS/shapes/val"
    step "benchmark_$size" "$python" tools/benchmark.py --task eval train \
        --config-file "configs/coco/imted_mask_rcnn_vit_${size}_3x.py" \
        "${benchmark[@]}" --output "$folder/benchmark_$size" \
        ${device[@]+"${device[@]}"} ${rois[@]+"${rois[@]}"} \
        --against released "configs/baselines/mask_rcnn_vitdet_${size}_3x.py"
done
step mae train configs/pretrain/mae_vit_tiny.py train.output_dir="$folder/mae" "${mae[@]}" \
    dataloader.train.dataset.images="$DETECTRON2_DATASETS/shapes_scales/pretrain" ${device[@]+"${device[@]}"}
step ladder "$python" tools/sweep.py --config-file configs/many_scales.py --output "$folder/ladder" \
    model.roi_heads.variant=integral,imted "$seeds" ${short[@]+"${short[@]}"}
exit $failed
