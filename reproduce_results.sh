#!/usr/bin/env bash
# Run every stage, in order, and say what ran, how long it took and where the results are.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$root/setup_env.sh"

usage() {
  cat <<'TEXT'
usage: ./reproduce_results.sh [--demo] [--models M ...] [--tasks T ...] [--gpu] [--data_path DIR] [--output_path DIR]

Without a flag: the paper's analyses on PTB-XL in data/ptbxl (downloaded first where it is missing),
models lenet and xresnet, tasks subdiagnostic, superdiagnostic and the three amplitude tasks.

  --demo              simulate a small cohort and run every stage on it (minutes on 2 cores, no download)
  --models M ...      some of lenet, resnet, xresnet
  --tasks T ...       label tasks to analyse (subdiagnostic, superdiagnostic, diagnostic, form, rhythm, all)
  --gpu               train and explain on the GPU
  --data_path DIR     folder of the data set  (default data/ptbxl/, with --demo data/simulated/)
  --output_path DIR   folder for all results  (default output/, with --demo output/demo/)

An interrupted run goes on where it stopped when the same command is given again.
TEXT
}

fail() { echo "error: $*" >&2; exit 2; }

demo=false; gpu=(); models=(lenet xresnet); tasks=(subdiagnostic superdiagnostic); data=""; output=""
names=()
list() { names=(); while [ $# -gt 0 ] && [[ $1 != --* ]]; do names+=("$1"); shift; done; }
while [ $# -gt 0 ]; do
  case $1 in
    --demo) demo=true; shift ;;
    --gpu) gpu=(--gpu); shift ;;
    --models) shift; list "$@"; [ ${#names[@]} -gt 0 ] || fail "--models needs at least one name"; models=("${names[@]}"); shift ${#names[@]} ;;
    --tasks) shift; list "$@"; [ ${#names[@]} -gt 0 ] || fail "--tasks needs at least one name"; tasks=("${names[@]}"); shift ${#names[@]} ;;
    --data_path) [ $# -gt 1 ] || fail "--data_path needs a folder"; data=$2; shift 2 ;;
    --output_path | --logdir) [ $# -gt 1 ] || fail "$1 needs a folder"; output=$2; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) fail "unknown option $1 (see --help)" ;;
  esac
done
for model in "${models[@]}"; do
  case $model in lenet | resnet | xresnet) ;; *) fail "unknown model $model: accepted are lenet, resnet, xresnet" ;; esac
done
absolute() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }
[ -z "$data" ] || data=$(absolute "$data")
[ -z "$output" ] || output=$(absolute "$output")

cd "$root"
setup_env
times=()

# stage NAME [arguments]: run python code/NAME.py with them, show the command, keep the time
stage() {
  local script=$1 start=$SECONDS
  shift
  printf '\n$ python code/%s.py %s\n' "$script" "$*"
  "$PYTHON" "code/$script.py" "$@"
  times+=("$((SECONDS - start)) s  $script $*")
}

summary() {
  printf '\nTime per stage\n'
  printf '  %s\n' "${times[@]}"
  printf '\nResults: %s\n' "$1"
  find "$1" -name report.html -exec printf '  report: %s\n' {} \;
}

amplitude_tasks=(P_Wave_Amplitude R_Peak_Amplitude T_Wave_Amplitude)

# explain DATA OUTPUT RUN [sizes are read from the arrays below]: stages 3 to 8 for one trained run
explain() {
  local data=$1 output=$2 run=$3
  local common=(--data_path "$data" --output_path "$output" --model_path "$run" ${gpu[@]+"${gpu[@]}"})
  stage tcav_analysis "${common[@]}" ${tcav_size[@]+"${tcav_size[@]}"}
  stage lrp_analysis "${common[@]}" "${local_size[@]}"
  stage glocal_analysis "${common[@]}" "${glocal_size[@]}"
  stage sanity_checks "${common[@]}" ${sanity_size[@]+"${sanity_size[@]}"}
  stage discovery "${common[@]}" "${discovery_size[@]}"
  stage report "${common[@]:2:4}"
}

run_demo() {
  data=${data:-data/simulated}; output=${output:-output/demo}
  tcav_size=(--n_runs 10 --n_null 400)
  local_size=(--strategy single_best --pathologies LVH CLBBB IMI AMI)
  glocal_size=(--n_samples 20)
  sanity_size=(--n_samples 16 --n_few 4)
  discovery_size=(--cohort "AMI or IMI")
  stage simulate_ptbxl --output_path "$data" --n_records 600 --seed 0
  stage preprocessing --data_path "$data"
  for task in subdiagnostic T_Wave_Amplitude; do
    stage train_model --data_path "$data" --logdir "$output" --modelname lenet --task "$task" --epochs 30 ${gpu[@]+"${gpu[@]}"}
  done
  sanity_size+=(--amplitude_models "$output/lenet_T_Wave_Amplitude")
  explain "$data" "$output" "$output/lenet_subdiagnostic"
  summary "$output"
}

run_paper() {
  data=${data:-data/ptbxl}; output=${output:-output}
  tcav_size=(); local_size=(--strategy best_n --n_samples 100); glocal_size=(--n_samples 100); sanity_size=(); discovery_size=(--cohort "AMI or IMI")
  [ -f "$data/ptbxl_database.csv" ] || ./download_data.sh --data_path "$data"
  [ -d "$data/ptbxl_segmentations" ] || ./download_segmentations.sh --data_path "$data"
  stage preprocessing --data_path "$data"
  for model in "${models[@]}"; do
    for task in "${amplitude_tasks[@]}" "${tasks[@]}"; do
      stage train_model --data_path "$data" --logdir "$output" --modelname "$model" --task "$task" ${gpu[@]+"${gpu[@]}"}
    done
    for task in "${tasks[@]}"; do
      sanity_size=(--amplitude_models "${amplitude_tasks[@]/#/$output/${model}_}")
      explain "$data" "$output" "$output/${model}_$task"
    done
  done
  summary "$output"
}

if $demo; then run_demo; else run_paper; fi
