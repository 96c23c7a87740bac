#!/usr/bin/env bash
# Set up what is missing, then run the linter and the tests: ./run_tests.sh [pytest arguments]
# Two processes share the test files (XAI4ECG_TEST_WORKERS=1 for one); timed tests run alone.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$root/setup_env.sh"
cd "$root"
setup_env
"$PYTHON" -m ruff check code tests
"$PYTHON" -m ruff format --check code tests
workers=(-n "${XAI4ECG_TEST_WORKERS:-2}" --dist loadfile)
case "$*" in *benchmark*) workers=() ;; esac
exec "$PYTHON" -m pytest "${workers[@]}" "$@"
