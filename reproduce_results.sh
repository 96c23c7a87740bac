#!/usr/bin/env bash
# Run every stage, in order, and say what ran, how long it took and where the results are.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$root/setup_env.sh"

usage() {
  cat <<'TEXT'
usage: ./reproduce_results.sh [--demo | --simulate N] [--models M ...] [--tasks T ...] [--gpu] [--amp]
                              [--paper_recipe | --epochs N] [--processes N] [--data_path DIR] [--output_path DIR]

Without a flag: the paper's analyses on PTB-XL in data/ptbxl (downloaded first where it is missing),
models lenet and xresnet, tasks subdiagnostic, superdiagnostic and the three amplitude tasks; the label
tasks with two further seeds (one with --demo), which the sanity checks compare.

  --demo              simulate a small cohort and run every stage on it (minutes on 2 cores, no download);
                      lenet and subdiagnostic, unless --models and --tasks say otherwise
  --simulate N        the paper's analyses on N simulated ECGs in place of PTB-XL (21837 is its size): what a
                      full run costs on this machine, without a download
  --models M ...      some of lenet, resnet, xresnet
  --tasks T ...       label tasks to analyse (subdiagnostic, superdiagnostic, diagnostic, form, rhythm, all)
  --gpu               train and explain on the GPU
  --amp               train in mixed precision (bf16): XResNet in about 60 % of the time on a CPU that
                      knows it; with another --output_path than a run without it
  --paper_recipe      train as the paper: 100 epochs at a constant rate. Without it LeNet stops after 15 epochs
                      that bring nothing better, and the others take 15 epochs of one cycle of the rate
  --epochs N          train every network for N epochs: with 1 a rehearsal, which shows what all other stages cost
                      here before the trainings take their hours; with another --output_path than the run itself
  --processes N       explain in N processes of one thread each, which share the records, with the same results
                      (default 2 where there are two cores; with --demo or --gpu 1 process)
  --data_path DIR     folder of the data set  (default data/ptbxl/; with --demo data/simulated/, with --simulate N
                      data/simulated_N/)
  --output_path DIR   folder for all results  (default output/; with --demo output/demo/, with --simulate N
                      output/simulated_N/)

An interrupted run goes on where it stopped when the same command is given again. However it ends, the times
of its stages are listed.
TEXT
}

fail() { echo "error: $*" >&2; exit 2; }

demo=false; simulate=""; paper_recipe=false; epochs=""; processes=""; gpu=(); amp=(); models=(); tasks=(); data=""; output=""
names=()
is_folder() { [ -n "$1" ] && [[ $1 != --* ]]; }  # empty: a variable of the shell that is not set
list() { names=(); while [ $# -gt 0 ] && [[ $1 != --* ]]; do names+=("$1"); shift; done; }
while [ $# -gt 0 ]; do
  case $1 in
    --demo) demo=true; shift ;;
    --simulate) [[ ${2:-} =~ ^[1-9][0-9]{0,6}$ ]] || fail "--simulate needs a number of ECGs"; simulate=$2; shift 2 ;;
    --gpu) gpu=(--gpu); shift ;;
    --amp) amp=(--amp); shift ;;
    --paper_recipe) paper_recipe=true; shift ;;
    --epochs) [[ ${2:-} =~ ^[1-9][0-9]{0,3}$ ]] || fail "--epochs needs a number from 1 to 9999"; epochs=$2; shift 2 ;;
    --models) shift; list "$@"; [ ${#names[@]} -gt 0 ] || fail "--models needs at least one name"; models=("${names[@]}"); shift ${#names[@]} ;;
    --tasks) shift; list "$@"; [ ${#names[@]} -gt 0 ] || fail "--tasks needs at least one name"; tasks=("${names[@]}"); shift ${#names[@]} ;;
    --processes) [[ ${2:-} =~ ^[1-9][0-9]?$ ]] || fail "--processes needs a number from 1 to 99"; processes=$2; shift 2 ;;
    --data_path) is_folder "${2:-}" || fail "--data_path needs a folder"; data=$2; shift 2 ;;
    --output_path | --logdir) is_folder "${2:-}" || fail "$1 needs a folder"; output=$2; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) fail "unknown option $1 (see --help)" ;;
  esac
done
for model in ${models[@]+"${models[@]}"}; do
  case $model in lenet | resnet | xresnet) ;; *) fail "unknown model $model: accepted are lenet, resnet, xresnet" ;; esac
done
for task in ${tasks[@]+"${tasks[@]}"}; do
  case $task in
    subdiagnostic | superdiagnostic | diagnostic | form | rhythm | all) ;;
    *) fail "unknown task $task: accepted are subdiagnostic, superdiagnostic, diagnostic, form, rhythm, all" ;;
  esac
done
if $demo && [ -n "$simulate" ]; then fail "--demo simulates a cohort of its own size: leave --simulate out"; fi
if $demo && $paper_recipe; then fail "--demo trains for 30 epochs, or --epochs: leave --paper_recipe out"; fi
if $paper_recipe && [ -n "$epochs" ]; then fail "--paper_recipe trains for 100 epochs: leave --epochs out"; fi
absolute() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }
[ -z "$data" ] || data=$(absolute "$data")
[ -z "$output" ] || output=$(absolute "$output")

cd "$root"
setup_env
times=(); running=""; started=0; finished=false

# stage NAME [arguments]: run python code/NAME.py with them, show the command, keep the time
stage() {
  printf '\n$ python code/%s.py%s\n' "$1" "$(printf ' %q' "${@:2}")"
  running="$*"; started=$SECONDS
  "$PYTHON" "code/$1.py" "${@:2}"
  keep_time
}

# shared NAME [arguments]: the same in several processes, where they are asked for
shared() {
  if [ "$processes" = 1 ]; then stage "$@"; return; fi
  printf '\n$ torchrun --nproc_per_node=%s code/%s.py%s\n' "$processes" "$1" "$(printf ' %q' "${@:2}")"
  running="$*"; started=$SECONDS
  OMP_NUM_THREADS=1 "$PYTHON" -m torch.distributed.run --nproc_per_node="$processes" \
    --rdzv_backend=c10d --rdzv_endpoint=localhost:0 "code/$1.py" "${@:2}"
  keep_time
}

keep_time() {
  times+=("$((SECONDS - started)) s  $running"); running=""
}

# said at every end, of a failed or interrupted run too; the exit code stays what it was
summary() {
  set +e
  [ -z "$running" ] || times+=("$((SECONDS - started)) s  $running  (not finished)")
  [ ${#times[@]} -gt 0 ] || return
  printf '\nTime per stage\n'
  printf '  %s\n' "${times[@]}"
  printf '\nResults: %s\n' "$output"
  [ ! -d "$output" ] || find "$output" -name report.html -exec printf '  report: %s\n' {} \;
  if $demo && $finished; then try_next; fi
}

# three commands that work as they stand: each stage knows the data set and the folder from the model
try_next() {
  local run="$output/${models[0]}_${tasks[0]}" about=(--pathologies LVH)
  run=${run#"$root"/}
  case ${tasks[0]} in superdiagnostic) about=(--pathologies HYP) ;; form | rhythm) about=() ;; esac
  printf '\nWorth trying next\n'
  printf '  python code/lrp_analysis.py --model_path %q --methods lrp --strategy false_negatives --overwrite\n' "$run"
  printf '  python code/tcav_analysis.py --model_path %q%s --overwrite\n' "$run" "${about[*]:+ ${about[*]}}"
  printf '  python code/counterfactuals.py --model_path %q --strategy false_negatives --overwrite\n' "$run"
}

# sizes of the stages: a demonstration shows everything in minutes, the paper's analyses take as many records as the paper
demo_sizes() {
  data=${data:-data/simulated}; output=${output:-output/demo}; processes=${processes:-1}
  [ ${#models[@]} -gt 0 ] || models=(lenet)
  [ ${#tasks[@]} -gt 0 ] || tasks=(subdiagnostic)
  amplitude_tasks=(T_Wave_Amplitude); more_seeds=(1)
  tcav_size=(--n_runs 10 --n_null 400); local_size=(--strategy single_best); glocal_size=(--n_samples 20)
  discovery_size=(--cohort "AMI or IMI")
  counterfactual_size=(--n_samples 3 --max_figures 5)
}

# 2, or 1 where there is one core or a GPU, which one process keeps busy
as_many_as_cores() {
  local cores
  cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
  if [ "$cores" -gt 1 ] && [ ${#gpu[@]} = 0 ]; then echo 2; else echo 1; fi
}

paper_sizes() {
  if [ -n "$simulate" ]; then data=${data:-data/simulated_$simulate}; output=${output:-output/simulated_$simulate}; fi
  data=${data:-data/ptbxl}; output=${output:-output}
  processes=${processes:-$(as_many_as_cores)}
  [ ${#models[@]} -gt 0 ] || models=(lenet xresnet)
  [ ${#tasks[@]} -gt 0 ] || tasks=(subdiagnostic superdiagnostic)
  amplitude_tasks=(P_Wave_Amplitude R_Peak_Amplitude T_Wave_Amplitude); more_seeds=(1 2)
  tcav_size=(--max_memory 2); local_size=(--strategy best_n --n_samples 100); glocal_size=(--n_samples 100)
  discovery_size=(--cohort "AMI or IMI")
  counterfactual_size=(--n_samples 100 --add_concept SLI-LVH QRS-CLBBB --remove_concept SLI-LVH QRS-CLBBB)
}

fetch_paper() {
  [ -f "$data/ptbxl_database.csv" ] || ./download_data.sh --data_path "$data"
  [ -d "$data/ptbxl_segmentations" ] || ./download_segmentations.sh --data_path "$data"
}

# recipe MODEL: sets train_size to what reaches the paper's scores in fewer epochs (docs/results.md, Training)
recipe() {
  train_size=()
  if $demo; then train_size=(--epochs "${epochs:-30}"); return; fi
  if $paper_recipe; then return; fi
  case $1 in
    lenet) train_size=(--patience 15 ${epochs:+--epochs "$epochs"}) ;;
    *) train_size=(--epochs "${epochs:-15}" --schedule one_cycle --lr 3e-3 --weight_decay 1e-2) ;;
  esac
}

# train MODEL TASK [arguments]: stage 2
train() {
  recipe "$1"
  stage train_model --data_path "$data" --logdir "$output" --modelname "$1" --task "$2" "${@:3}" \
    ${train_size[@]+"${train_size[@]}"} ${amp[@]+"${amp[@]}"} ${gpu[@]+"${gpu[@]}"}
}

# checked MODEL: sets sanity_size to the records that its checks take: 200 take a deep network six hours a task, 60 two
# (docs/results.md, Size), with intervals 1.8 times as wide
checked() {
  if $demo; then sanity_size=(--n_samples 16 --n_few 4); return; fi
  case $1 in
    lenet) sanity_size=() ;;
    *) sanity_size=(--n_samples 60 --n_few 15) ;;
  esac
}

# explain MODEL TASK: stages 3 to 9 for one trained run
explain() {
  local run="$output/$1_$2"
  local common=(--data_path "$data" --output_path "$output" --model_path "$run" ${gpu[@]+"${gpu[@]}"})
  stage tcav_analysis "${common[@]}" ${tcav_size[@]+"${tcav_size[@]}"}
  shared lrp_analysis "${common[@]}" "${local_size[@]}"
  shared glocal_analysis "${common[@]}" "${glocal_size[@]}"
  shared counterfactuals "${common[@]}" "${counterfactual_size[@]}"  # before the checks, which hold maps against it
  local amplitudes=() seeds=() one
  for one in "${amplitude_tasks[@]}"; do amplitudes+=("$output/$1_$one"); done
  for one in "${more_seeds[@]}"; do seeds+=("${run}_seed$one"); done
  checked "$1"
  shared sanity_checks "${common[@]}" ${sanity_size[@]+"${sanity_size[@]}"} \
    --amplitude_models "${amplitudes[@]}" --seeds "${seeds[@]}"
  case $2 in
    form | rhythm) printf '\ndiscovery is left out: %s knows no infarction whose kinds could be found again\n' "$2" ;;
    *) shared discovery "${common[@]}" "${discovery_size[@]}" ;;
  esac
  stage report --output_path "$output" --model_path "$run"
}

# stages 1 to 9 for all models and tasks
analyse() {
  stage preprocessing --data_path "$data"
  for model in "${models[@]}"; do
    for task in "${tasks[@]}" "${amplitude_tasks[@]}"; do train "$model" "$task"; done
    for task in "${tasks[@]}"; do
      for seed in "${more_seeds[@]}"; do train "$model" "$task" --seed "$seed" --run_name "seed$seed"; done
      explain "$model" "$task"
    done
  done
}

trap summary EXIT
if $demo; then
  demo_sizes
  stage simulate_ptbxl --output_path "$data" --n_records 600 --seed 0
else
  paper_sizes
  if [ -n "$simulate" ]; then
    stage simulate_ptbxl --output_path "$data" --n_records "$simulate" --seed 0
  else
    fetch_paper
  fi
fi
analyse
finished=true
