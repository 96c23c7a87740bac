# Sourced by run_tests.sh and reproduce_results.sh: find or make a Python that has everything, as $PYTHON.
#   1. an active environment that already imports everything is used as it is
#   2. else conda, mamba or micromamba, if present, make or reuse the environment xai4ecg
#   3. else .venv beside this file, with pip
# XAI4ECG_TORCH_INDEX, if set, is the package index that torch is taken from (CPU or CUDA builds, see README).

# torch is imported for real (the one that breaks); for the others it is enough, and quicker, that they can be found
imports="import importlib.util, sys
import torch
names = 'numpy pandas scipy sklearn matplotlib wfdb captum tensorboard tqdm onnx h5py ecgdatakit pydicom pytest nbclient ipykernel xdist ruff selenium'.split()
if any(importlib.util.find_spec(name) is None for name in names): sys.exit(1)
# the oldest that the tests pass with: with NumPy 1.26 and scikit-learn 1.4 some do not
from importlib import metadata
oldest = {'numpy': (2, 1), 'pandas': (2, 3), 'scikit-learn': (1, 5)}
found = {name: tuple(map(int, metadata.version(name).split('.')[:2])) for name in oldest}
sys.exit(any(found[name] < oldest[name] for name in oldest))"

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
  # without -q grep reads to the end: a list whose reader has gone is a failure under pipefail
  "$tool" env list 2>/dev/null | grep -E '(^|/| )xai4ecg( |$)' >/dev/null || "$tool" env create -y -f "$root/environment.yml"
  PYTHON=$("$tool" run -n xai4ecg python -c 'import sys; print(sys.executable)')
  has_everything "$PYTHON" || "$tool" env update --file "$root/environment.yml" --prune
}

# pip_install [arguments]: pip's own errors are pages; what to do is one line after its last
pip_install() {
  local said
  said=$(PIP_DISABLE_PIP_VERSION_CHECK=1 "$PYTHON" -m pip install -q "$@" 2>&1) && return
  echo "error: pip could not install into $root/.venv (${said##*$'\n'}): check the network and the disk, and run this again" >&2
  return 1
}

with_venv() {
  local base
  PYTHON="$root/.venv/bin/python"
  if [ -e "$root/.venv" ] && [ ! -d "$root/.venv" ]; then
    echo "error: $root/.venv is a file, where the packages go into a folder of that name: move it away" >&2
    return 1
  fi
  if has_everything "$PYTHON"; then return; fi
  base=$(find_python) || return 1
  echo "setting up $root/.venv (needs about 1.5 GB; once) ..."
  # dangling, broken or half-made: made anew where nothing but venv itself can have made it
  if ! { [ -x "$PYTHON" ] && new_enough "$PYTHON" && "$PYTHON" -m pip --version >/dev/null 2>&1; }; then
    if [ -L "$root/.venv" ]; then rm -f "$root/.venv"; fi
    if [ -d "$root/.venv" ] && [ ! -f "$root/.venv/pyvenv.cfg" ] && [ -n "$(ls -A "$root/.venv")" ]; then
      echo "error: $root/.venv is no environment of Python's: move it away" >&2
      return 1
    fi
    "$base" -m venv --clear "$root/.venv" >/dev/null 2>&1 || {
      echo "error: $base cannot make $root/.venv: install its venv module (python3-venv), or free the folder" >&2
      return 1
    }
  fi
  if [ -n "${XAI4ECG_TORCH_INDEX:-}" ]; then
    pip_install --index-url "$XAI4ECG_TORCH_INDEX" "$(grep '^torch==' "$root/requirements.txt")" || return 1
  fi
  pip_install -r "$root/requirements.txt" || return 1
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
