#!/bin/sh
# Makes the corpora and runs of this folder anew: tests/data/legacy/make.sh MESM OUT, where MESM is
# the `mesm` command of a checkout. Those that are committed were made by commit b996644.
set -eu
mesm=$1
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$2" && cd "$2"
export OMP_NUM_THREADS=1

for layout in iemocap mosei; do
    $mesm miniature raw/$layout --clips 60 --seed 3 --layout $layout
    $mesm prepare $layout raw/$layout corpora/$layout --splits "$here/splits" --min-face-size 60 \
        --workers 1
    $mesm features corpora/$layout --raw raw/$layout --workers 1 --video-step 0.2
    # The test clips alone are scored.
    grep -F -f "$here/splits/${layout}_test.txt" raw/$layout/ground_truth.jsonl \
        > corpora/$layout/ground_truth.jsonl
done

narrow="model.channels=[4,4,4,4] model.hidden=8 model.dim=8 model.heads=2 model.layers=1
    model.feedforward=8 model.text.vocabulary=60 model.text.max_length=24 model.text.embedding=8
    model.text.hidden=8 model.text.heads=2 model.text.layers=1 model.text.feedforward=8"
short="training.epochs=3 training.batch_size=2"

run() {
    name=$1 config=$2
    shift 2
    $mesm train "$config" corpus=corpora/${name%%_*} $short "$@" --run runs/"$name"
    $mesm evaluate runs/"$name" --draws 50
    # Event files name the machine.
    rm -r runs/"$name"/tensorboard
}
run iemocap_mesm miniature_mesm $narrow training.p_warmup_epochs=2 evaluation.threshold=tuned
run iemocap_mesm_hard miniature_mesm $narrow model.selection=hard model.query=mean \
    'model.p={face: [0.7, 0.5, 0.3], audio: 0.4}'
run iemocap_fe2e miniature_fe2e $narrow
run iemocap_mult iemocap_mult model.dim=4 model.heads=2 model.layers=1 model.memory_layers=1
run mosei_mesm mosei_mesm $narrow evaluation.f1=weighted
run mosei_lf_lstm mosei_lf_lstm model.modalities=a evaluation.threshold=tuned_wacc

mkdir kept_sites
for run in iemocap_mesm iemocap_mesm_hard mosei_mesm; do
    $mesm explain runs/$run --ground-truth corpora/${run%%_*}/ground_truth.jsonl
    clip=$(head -n 1 "$here/splits/${run%%_*}_test.txt")
    gzip -9 -n -c runs/$run/explain/"$clip"/kept_sites.json > kept_sites/$run.json.gz
    find runs/$run/explain -mindepth 1 ! -name action_units.json -delete
done
$mesm sweep runs/iemocap_mesm --p 0.3,1 --baseline runs/iemocap_fe2e
$mesm sweep runs/iemocap_mesm_hard --p 0.3
rm runs/*/sweep.png

# A checkpoint to go on from is larger than all else: one is enough.
for run in runs/*; do
    test $run = runs/iemocap_mult || rm -r $run/last
done
rm -r raw
