# Sourced by run_tests.sh and reproduce_results.sh: find or make a Python that has everything, as $PYTHON.
#   1. an active environment that already imports everything is used as it is
#   2. else conda, mamba or micromamba, if present, make or reuse the environment xai4ecg
#   3. else .venv beside this file, with pip
# XAI4ECG_TORCH_INDEX, if set, is the package index that torch is taken from (CPU or CUDA builds, see README).

# torch is imported for real (the one that breaks); for the others it is enough, and quicker, that they can be found
imports="import importlib.util, sys
import torch
names = 'numpy pandas scipy sklearn matplotlib wfdb captum tensorboard tqdm onnx h5py ecgdatakit pydicom pytest xdist ruff selenium'.split()
sys.exit(any(importlib.util.find_spec(name) is None for name in names))"

has_everything() { "$@" -c "$imports" >/dev/null 2>&1; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  local name
  for name in python3.11 python3.12 python3.13 python3.14 python3 python; do
    if command -v "$name" >/dev/null 2>&1 && new_enough "$name"; then command -v "$name"; return; fi
  done
  echo "error: Python 3.11 or newer was not found: install it, or conda, and run this again" >&2
  return 1
}

with_conda() {
  local tool=$1
  "$tool" env list 2>/dev/null | grep -qE '(^|/| )xai4ecg( |$)' || "$tool" env create -y -f "$root/environment.yml"
  PYTHON=$("$tool" run -n xai4ecg python -c 'import sys; print(sys.executable)')
  has_everything "$PYTHON" || "$tool" env update --file "$root/environment.yml" --prune
}

with_venv() {
  local base
  PYTHON="$root/.venv/bin/python"
  if ! has_everything "$PYTHON"; then
    base=$(find_python)
    echo "setting up $root/.venv (needs about 1.5 GB; once) ..."
    [ -x "$PYTHON" ] && new_enough "$PYTHON" || "$base" -m venv --clear "$root/.venv"
    if [ -n "${XAI4ECG_TORCH_INDEX:-}" ]; then
      "$PYTHON" -m pip install -q --index-url "$XAI4ECG_TORCH_INDEX" "$(grep '^torch==' "$root/requirements.txt")"
    fi
    "$PYTHON" -m pip install -q -r "$root/requirements.txt"
  fi
  has_everything "$PYTHON" || { echo "error: the packages of requirements.txt do not import in $root/.venv: remove it and run this again" >&2; return 1; }
}

setup_env() {
  local tool
  if command -v python >/dev/null 2>&1 && new_enough python && has_everything python; then
    PYTHON=$(python -c 'import sys; print(sys.executable)'); return
  fi
  for tool in conda mamba micromamba; do
    if command -v "$tool" >/dev/null 2>&1; then with_conda "$tool"; return; fi
  done
  with_venv
}
