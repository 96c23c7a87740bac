#!/usr/bin/env bash
# Download the soft segmentations of PTB-XL: ./download_segmentations.sh [options]
#
#   --data_path DIR  folder of the data set (default: data/ptbxl beside this script)
#   --help           this text
#
# Writes <data_path>/ptbxl_segmentations/<ecg_id>.npy (uint8, 1000 x 12 x 24). About 1.7 GB to fetch and 6.3 GB unpacked.
# A broken transfer is resumed by the same command; nothing half-unpacked appears under the final name.
# SEGMENTATIONS_BASE_URL replaces the place to fetch from (a folder, or the zip itself; several with spaces).
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$root/download_common.sh"

DEFAULT_BYTES=1700000000  # the archive, where the server does not say
UNPACKED_RATIO=3.8

data_path="$root/data/ptbxl"
while [ $# -gt 0 ]; do
  case "$1" in
    --data_path=*) data_path=${1#*=} ;;
    --data_path) [ $# -gt 1 ] || misuse "--data_path needs a folder"; data_path=$2; shift ;;
    -h | --help) usage "${BASH_SOURCE[0]}"; exit 0 ;;
    *) misuse "unknown option $1" ;;
  esac
  shift
done

[ -n "$data_path" ] || misuse "--data_path needs a folder"
need_tools
lock "${data_path%/}"
data_path="$(cd "$data_path" && pwd)"
target="$data_path/ptbxl_segmentations" partial="$data_path/.ptbxl_segmentations.partial"
archive="$data_path/.ptbxl_segmentations.zip" file=ptbxl_segmentations_8bit.zip
trap 'rm -rf "$partial"' EXIT

urls=""
for base in ${SEGMENTATIONS_BASE_URL:-https://zenodo.org/records/7610236/files https://zenodo.org/record/7610236/files}; do
  case "$base" in *.zip) urls="$urls $base" ;; *) urls="$urls ${base%/}/$file" ;; esac
done

count_npy() { find "$1" -maxdepth 1 -name '[0-9]*.npy' | wc -l | tr -d ' '; }

if [ -d "$target" ]; then
  echo "the segmentations are there: $target ($(count_npy "$target") records); remove the folder to fetch them again"
  exit 0
fi

# shellcheck disable=SC2086  # one word per URL is meant
[ -f "$archive" ] || fetch_any "$archive" "$UNPACKED_RATIO" $urls
unpack "$archive" "$partial"
first=$(first_below "$partial" '[0-9]*.npy')
[ -n "$first" ] || reject "$archive" "it holds no <ecg_id>.npy"
mv "$(dirname "$first")" "$target"
rm -f "$archive"
echo "segmentations of $(count_npy "$target") records -> $target"
