#!/usr/bin/env bash
#SBATCH --job-name=xai4ecg
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --output=xai4ecg-%j.log
# An example for Slurm, to be changed to your machines: one network trained and explained on four nodes that share
# this folder. Submit it from the folder of the README: sbatch docs/slurm.sh
set -euo pipefail
source .venv/bin/activate

data=data/ptbxl
run=output/xresnet_superdiagnostic
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=$((20000 + SLURM_JOB_ID % 20000))

# together PROCESSES STAGE [options]: a stage in so many processes on every node (one torchrun on each)
together() {
  srun torchrun --nnodes="$SLURM_NNODES" --nproc_per_node="$1" --rdzv_backend=c10d \
    --rdzv_id="$SLURM_JOB_ID" --rdzv_endpoint="${nodes[0]}:$port" "code/$2.py" "${@:3}"
}

# once, on one node
python code/preprocessing.py --data_path "$data"
# training: few processes with several threads each, since every step waits for the slowest
export OMP_NUM_THREADS=8
together 2 train_model --data_path "$data" --modelname xresnet --task superdiagnostic \
  --epochs 15 --schedule one_cycle --lr 3e-3 --weight_decay 1e-2
# explaining: one process a core, since nobody waits for anybody before the end
export OMP_NUM_THREADS=1
together 16 tcav_analysis --model_path "$run" --control 20
together 16 lrp_analysis --model_path "$run" --strategy best_n --n_samples 100
together 16 glocal_analysis --model_path "$run" --control 20
together 16 counterfactuals --model_path "$run"
together 16 sanity_checks --model_path "$run"
together 16 discovery --model_path "$run" --cohort "AMI or IMI" --control 20
python code/report.py --model_path "$run"
