#!/usr/bin/env bash
# Set up what is missing, then run the linter and the tests: ./run_tests.sh [pytest arguments]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$root/setup_env.sh"
cd "$root"
setup_env
"$PYTHON" -m ruff check code tests
"$PYTHON" -m ruff format --check code tests
exec "$PYTHON" -m pytest "$@"
