# Sourced by download_data.sh and download_segmentations.sh: fetch with resume, unpack, verify, move into place.
# Needs curl or wget, and unzip or python3. Runs on bash 3.2 (macOS) too.

fail() { echo "error: $*" >&2; exit 1; }
misuse() { echo "error: $* (see $0 --help)" >&2; exit 2; }
have() { command -v "$1" >/dev/null 2>&1; }

# The comment at the head of a script is its help.
usage() { sed -n '2,/^[^#]/s/^#\( \|$\)//p' "$1"; }

need_tools() {
  have curl || have wget || fail "curl or wget is needed to download: install one of them"
  have unzip || have python3 || fail "unzip or python3 is needed to unpack: install one of them"
}

bytes_of() { if [ -f "$1" ]; then wc -c <"$1" | tr -d ' '; else echo 0; fi; }
as_size() { awk -v n="$1" 'BEGIN { if (n >= 1e9) printf "%.1f GB", n / 1e9; else printf "%.1f MB", n / 1e6 }'; }

# lock FOLDER: one download at a time; the lock ends with the process.
lock() {
  mkdir -p "$1" || fail "cannot make the folder $1"
  if have flock; then
    exec 9>"$1/.download.lock"
    flock -n 9 || fail "another download into $1 is running: wait for it, or end it"
  fi
}

# need_space FOLDER BYTES
need_space() {
  local free
  free=$(df -Pk "$1" | awk 'NR == 2 { print $4 * 1024 }')
  awk -v free="$free" -v need="$2" 'BEGIN { exit !(free >= need) }' ||
    fail "not enough disk space in $1: $(as_size "$2") needed, $(as_size "$free") free"
}

# remote_bytes URL: the file's size as the server says it; nothing where it does not say.
remote_bytes() {
  { if have curl; then curl -fsIL --max-time 60 "$1"; else wget -q --spider -S --tries=1 --timeout=20 "$1"; fi; } 2>&1 |
    tr -d '\r' | awk 'tolower($1) == "content-length:" { size = $2 } END { if (size > 0) print size }' || true
}

# transfer URL FILE: one attempt, from where FILE ends. A progress bar on a terminal, silence elsewhere.
transfer() {
  local show=-s
  if have curl; then
    if [ -t 2 ]; then show=--progress-bar; fi
    curl -fL "$show" --connect-timeout 20 --speed-limit 1000 --speed-time 60 -C - -o "$2" "$1"
  else
    if [ -t 2 ]; then show=--show-progress; else show=-q; fi
    wget -q "$show" --tries=1 --timeout=60 -c -O "$2" "$1"
  fi
}

# fetch URL FILE: the whole file as FILE, resuming what an earlier, broken transfer of the same URL left.
# Goes on as long as something arrives; gives up (status 1) after three attempts without, RETRY_PAUSE seconds apart,
# or when a server that cannot resume has broken off three times.
fetch() {
  local url=$1 file=$2 part size before code idle=0 anew=0
  part="$file.$(printf '%s' "$url" | cksum | cut -d' ' -f1).part"
  size=$(remote_bytes "$url")
  while [ "$idle" -lt 3 ]; do
    before=$(bytes_of "$part")
    if [ -n "$size" ] && [ "$before" -gt "$size" ]; then rm -f "$part"; before=0; fi
    code=0
    if [ -z "$size" ] || [ "$before" -lt "$size" ]; then
      if [ "$before" -gt 0 ]; then echo "resuming after $(as_size "$before")"; fi
      transfer "$url" "$part" || code=$?
    fi
    if [ "$code" -eq 0 ] && [ -s "$part" ] && { [ -z "$size" ] || [ "$(bytes_of "$part")" -eq "$size" ]; }; then
      mv "$part" "$file"
      return 0
    fi
    case "$(have curl && echo curl || echo wget) $code" in
      "curl 22" | "wget 8") break ;;  # the server refuses: asking again does not help
      "curl 23" | "wget 3") fail "cannot write $part: the disk may be full" ;;
      "curl 33")  # this server cannot resume: start over
        rm -f "$part"
        anew=$((anew + 1))
        [ "$anew" -lt 3 ] || break
        ;;
    esac
    if [ "$(bytes_of "$part")" -gt "$before" ]; then idle=0; else idle=$((idle + 1)); sleep "${RETRY_PAUSE:-2}"; fi
  done
  [ -s "$part" ] || rm -f "$part"
  return 1
}

# fetch_any FILE UNPACKED_RATIO URL...: from the first mirror that delivers, whose URL is left in $fetched_from.
# Checks first that the disk has room for the archive and what is in it.
fetch_any() {
  local file=$1 ratio=$2 url size
  shift 2
  for url in "$@"; do
    size=$(remote_bytes "$url")
    echo "fetching $url${size:+ ($(as_size "$size"))}"
    need_space "$(dirname "$file")" "$(awk -v n="${size:-$DEFAULT_BYTES}" -v r="$ratio" 'BEGIN { printf "%.0f", n * (1 + r) }')"
    if fetch "$url" "$file"; then fetched_from=$url; return 0; fi
    echo "no luck with $url" >&2
  done
  fail "no mirror delivered $(basename "$file"): check the network and run the same command again, it resumes"
}

# reject ARCHIVE WHY: an archive that is no good must not be taken up again.
reject() { rm -f "$1"; fail "$2: the archive was removed, run the same command again"; }

# unpack ARCHIVE FOLDER: into a fresh folder.
unpack() {
  rm -rf "$2"
  mkdir -p "$2"
  echo "unpacking ..."
  if have unzip; then unzip -q -o "$1" -d "$2"; else python3 -m zipfile -e "$1" "$2"; fi >/dev/null 2>&1 && return 0
  need_space "$2" 20000000  # else what follows would blame the archive
  reject "$1" "$(basename "$1") is damaged"
}

# first_below FOLDER PATTERN: one file of that name, or nothing.
first_below() { find "$1" -name "$2" | sed -n 1p; }

sha256_check() {
  if have sha256sum; then sha256sum -c "$1"
  elif have shasum; then shasum -a 256 -c "$1"
  else python3 - "$1" <<'PYTHON'
import hashlib, pathlib, sys
failed = False
for line in open(sys.argv[1], encoding="utf-8"):
    digest, name = line.rstrip("\n").split("  ", 1)
    path = pathlib.Path(name)
    good = path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest
    failed |= not good
    print(f"{name}: {'OK' if good else 'FAILED'}")
sys.exit(failed)
PYTHON
  fi
}

# listed FOLDER: the names that its SHA256SUMS.txt has, one a line
listed() { sed -nE 's/^[0-9a-f]{64}[ *]+//p' "$1/SHA256SUMS.txt"; }

# remove_unlisted FOLDER: what its SHA256SUMS.txt does not name was verified by nobody
remove_unlisted() {
  local names name
  names=$(mktemp)
  listed "$1" >"$names"
  (cd "$1" && find . -type f ! -name SHA256SUMS.txt) | sed 's|^\./||' |
    awk 'NR == FNR { known[$0]; next } !($0 in known)' "$names" - |
    while IFS= read -r name; do
      echo "left out: $name, which SHA256SUMS.txt does not name" >&2
      rm -f "$1/$name"
    done
  find "$1" -type l -exec rm -f {} +  # a link may lead anywhere
  rm -f "$names"
}

# verify FOLDER [SUMS]: every file of SUMS (FOLDER's own SHA256SUMS.txt); status 1, the offenders in $offenders and one
# of them on stderr where one differs. PhysioNet separates sum and name by one space, sha256sum by two.
verify() {
  local sums results bad total
  sums=$(mktemp)
  offenders=""
  grep . "${2:-$1/SHA256SUMS.txt}" | sed -E 's/^([0-9a-f]{64})[ *]+/\1  /' >"$sums"
  total=$(grep -c . "$sums" || true)
  echo "verifying $total files ..."
  results=$(cd "$1" && sha256_check "$sums" 2>/dev/null || true)
  rm -f "$sums"
  # what was not found good is bad, a tool that said nothing included
  if [ "$total" -gt 0 ] && [ "$(grep -c ': OK$' <<<"$results" || true)" -eq "$total" ]; then return 0; fi
  bad=$(grep -v ': OK$' <<<"$results" | sed 's/: FAILED.*//' || true)
  offenders=$bad
  echo "not as SHA256SUMS.txt has it: $(grep -c . <<<"$bad" || true) files, such as ${bad%%$'\n'*}" >&2
  return 1
}
