#!/usr/bin/env bash
# Download PTB-XL and verify it: ./download_data.sh [options]
#
#   --version V      1.0.1 (default: the paper's), 1.0.2 or 1.0.3 (recommended for new work)
#   --features       also fetch PTB-XL+'s Uni-G measurements -> <data_path>/ptbxl_plus/features/unig_features.csv
#   --data_path DIR  where to put it (default: data/ptbxl beside this script)
#   --help           this text
#
# About 1.8 GB to fetch and 3.1 GB unpacked. A broken transfer is resumed by the same command; files are checked
# against the archive's SHA256SUMS.txt before they appear under their final name. Running it again verifies what is there.
# PTBXL_BASE_URL and PTBXL_PLUS_BASE_URL replace the places to fetch from (folders, or the zip itself; several with spaces).
# Licence of the data: CC BY 4.0 (Wagner et al., https://doi.org/10.1038/s41597-020-0495-6).
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$root/download_common.sh"

DEFAULT_BYTES=1840000000  # the archive, where the server does not say
UNPACKED_RATIO=1.8

version=1.0.1 features=no data_path="$root/data/ptbxl"
while [ $# -gt 0 ]; do
  case "$1" in
    --version=* | --data_path=*) option=${1%%=*} value=${1#*=}; shift; set -- "$option" "$value" "$@"; continue ;;
    --version) [ $# -gt 1 ] || misuse "--version needs a value"; version=$2; shift ;;
    --data_path) [ $# -gt 1 ] || misuse "--data_path needs a folder"; data_path=$2; shift ;;
    --features) features=yes ;;
    -h | --help) usage "${BASH_SOURCE[0]}"; exit 0 ;;
    *) misuse "unknown option $1" ;;
  esac
  shift
done

case "$version" in 1.0.1 | 1.0.2 | 1.0.3) ;; *) misuse "unknown version $version: accepted are 1.0.1, 1.0.2, 1.0.3" ;; esac
[ -n "$data_path" ] || misuse "--data_path needs a folder"
need_tools
data_path="${data_path%/}"
mkdir -p "$(dirname "$data_path")" || fail "cannot make the folder $(dirname "$data_path")"
data_path="$(cd "$(dirname "$data_path")" && pwd)/$(basename "$data_path")"
parent=$(dirname "$data_path") name=$(basename "$data_path")
partial="$parent/.$name.partial"
long=ptb-xl-a-large-publicly-available-electrocardiography-dataset-$version.zip

# mirrors: one URL per line, fastest first
mirrors() {
  local base
  if [ -n "${PTBXL_BASE_URL:-}" ]; then
    for base in $PTBXL_BASE_URL; do
      case "$base" in *.zip) echo "$base" ;; *) echo "${base%/}/$long"; echo "${base%/}/ptb-xl-$version.zip" ;; esac
    done
    return
  fi
  case "$version" in
    1.0.1) echo "https://storage.googleapis.com/ptb-xl-1.0.1.physionet.org/$long" ;;
    1.0.3) echo "https://physionet-open.s3.amazonaws.com/ptb-xl/ptb-xl-1.0.3.zip" ;;
  esac
  echo "https://physionet.org/static/published-projects/ptb-xl/$long"
  echo "https://physionet.org/content/ptb-xl/get-zip/$version/"
}

# version_there: the version that data_path holds, by the note of an earlier download or by the number of records
version_there() {
  if [ -f "$data_path/.version" ]; then cat "$data_path/.version"; return; fi
  case "$(grep -cE '^[0-9]+,' "$data_path/ptbxl_database.csv")" in
    21837) echo 1.0.1 ;;
    21801) echo 1.0.2 ;;
    21799) echo 1.0.3 ;;
    *) echo unknown ;;
  esac
}

# present: status 0 where the data set is there and whole; ends where it is another one
present() {
  [ -f "$data_path/ptbxl_database.csv" ] || return 1
  local there
  there=$(version_there)
  [ "$there" = "$version" ] || fail "$data_path holds PTB-XL of version $there, not $version: move it away, or use --data_path"
  [ -f "$data_path/SHA256SUMS.txt" ] && verify "$data_path" && return 0
  if [ "$features" = yes ]; then
    echo "warning: $data_path is not as PTB-XL has it; without --features this is put right" >&2
    return 0
  fi
  echo "$data_path is not whole: fetching it again"
  return 1
}

# install FOLDER: move it to data_path. Where that is there already, only what is missing or not as it should be comes
# from the archive, the table last; what was there is kept beside it as <name>.before (.before2, ... where that is
# taken), and all else is left alone.
install() {
  local name
  remove_unlisted "$1"
  echo "$version" >"$1/.version"
  if [ ! -e "$data_path" ]; then mv "$1" "$data_path"; return; fi
  verify "$data_path" "$1/SHA256SUMS.txt" 2>/dev/null || true
  while IFS= read -r name; do
    if [ -n "$name" ] && [ "$name" != ptbxl_database.csv ]; then put "$1" "$name"; fi
  done <<<"$offenders"
  put "$1" SHA256SUMS.txt
  put "$1" .version
  if grep -qx ptbxl_database.csv <<<"$offenders"; then put "$1" ptbxl_database.csv; fi
}

# put FOLDER NAME: one file of an archive into data_path; another of that name is kept
put() {
  local there="$data_path/$2"
  mkdir -p "$(dirname "$there")"
  if [ -f "$there" ]; then
    case "$2" in
      SHA256SUMS.txt | .version) ;;
      *) keep "$there" ;;
    esac
  fi
  mv "$1/$2" "$there"
}

# keep FILE: beside where it was, under a name that nothing has: an earlier one may be all that is left of somebody's work
keep() {
  local kept="$1.before" n=1
  while [ -e "$kept" ] || [ -L "$kept" ]; do
    n=$((n + 1))
    kept="$1.before$n"
  done
  mv "$1" "$kept"
  echo "kept: $kept is what was there" >&2
}

get_data() {
  local archive="$parent/.ptb-xl-$version.zip" found
  # shellcheck disable=SC2046  # one word per URL is meant
  [ -f "$archive" ] || fetch_any "$archive" "$UNPACKED_RATIO" $(mirrors)
  unpack "$archive" "$partial"
  found=$(first_below "$partial" ptbxl_database.csv)
  [ -n "$found" ] || reject "$archive" "it holds no ptbxl_database.csv"
  found=$(dirname "$found")
  [ -f "$found/SHA256SUMS.txt" ] || reject "$archive" "it holds no SHA256SUMS.txt to verify it with"
  verify "$found" || reject "$archive" "its files are not as its SHA256SUMS.txt has them"
  install "$found"
  rm -rf "$archive" "$partial"
  echo "PTB-XL $version -> $data_path"
}

# features_sum: what PTB-XL+'s own list says of the table just fetched; nothing where there is no list
features_sum() {
  local list="${fetched_from%/features/*}/SHA256SUMS.txt"
  { if have curl; then curl -fsL "$list"; else wget -q -O - "$list"; fi; } | sed -nE 's/^([0-9a-f]{64}).* \*?features\/unig_features.csv$/\1/p' || true
}

get_features() {
  local folder="$data_path/ptbxl_plus/features" base sum urls=""
  local file="$folder/unig_features.csv" new="$folder/.unig_features.csv"
  local bases="https://physionet-open.s3.amazonaws.com/ptb-xl-plus/1.0.1 https://physionet.org/files/ptb-xl-plus/1.0.1"
  if [ -f "$file" ]; then echo "Uni-G measurements are there: $file"; return; fi
  mkdir -p "$folder"
  for base in ${PTBXL_PLUS_BASE_URL:-$bases}; do urls="$urls ${base%/}/features/unig_features.csv"; done
  # shellcheck disable=SC2086  # one word per URL is meant
  DEFAULT_BYTES=100000000 fetch_any "$new" 0 $urls
  head -n 1 "$new" | grep -q ecg_id || { rm -f "$new"; fail "what $fetched_from delivered is not a table of measurements"; }
  sum=$(features_sum)
  if [ -z "$sum" ]; then
    echo "warning: no SHA256SUMS.txt to verify $(basename "$file") with" >&2
  else
    echo "$sum  .unig_features.csv" >"$folder/.sums"
    (cd "$folder" && sha256_check .sums >/dev/null 2>&1) || { rm -f "$new" "$folder/.sums"; fail "unig_features.csv arrived damaged: run the same command again"; }
    rm -f "$folder/.sums"
  fi
  mv "$new" "$file"
  echo "Uni-G measurements -> $file"
}

lock "$parent"
trap 'rm -rf "$partial"' EXIT  # after the lock: never another run's
if present; then echo "PTB-XL $version is there and whole: $data_path"; else get_data; fi
if [ "$features" = yes ]; then get_features; fi
printf 'next: python code/preprocessing.py --data_path %q\n' "$data_path"
