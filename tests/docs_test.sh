#!/usr/bin/env bash
# README and docs say what is true of the tree: every path named exists, README's map has the right sizes, its twelve lines of code
# are lines of train/minimal.cpp, that file is as short as it promises, and the wording is the field's. About 2 s.
# usage: docs_test.sh BINARY SOURCE_DIR
set -u
binary=$1
cd "$2" || exit 2
failed=0
bad() { echo "FAILED: $*"; failed=1; }
texts=$(ls README.md docs/*.md virtual_gpu/simt/README.md share/*.md tests/golden/README.md 2>/dev/null | grep -v '^docs/moved.md$')

# ---- paths: from the root, from the folder of the text, or a bare file name that some folder has
names=$(find . -path ./.git -prune -o -path './build*' -prune -o -type f -print | sed 's|.*/||' | sort -u)
for text in $texts; do
    grep -oE '(^|[^A-Za-z0-9_./{*<-])[A-Za-z0-9_.][A-Za-z0-9_./-]*\.(h|cpp|cu|cuh|sh|py|md|svg|cmake)([^A-Za-z0-9_*{]|$)' "$text" |
        sed -E 's/^[^A-Za-z0-9_.]//; s/[^A-Za-z0-9_]$//' | sort -u | while read -r path; do
        case $path in
            *NAME* | *://* | models/yolo.py | reverse.cu) continue ;;  # YOLOv5's, and an example
            */*) [ -e "$path" ] || [ -e "$(dirname "$text")/$path" ] || [ -e "$(dirname "$text")/../$path" ] || [ -e "bench/$path" ] || echo "$text: $path does not exist" ;;
            *) grep -qxF -- "$path" <<<"$names" || echo "$text: no file is called $path" ;;
        esac
    done
done | grep . && bad "paths in the texts above"
# The same for comments of sources and scripts, where a path starts with one of our folders.
folders="base|virtual_gpu|kernels|engine|models|data|predict|train|app|tests|bench|scripts|docs|cmake|share"
grep -rnoE "(^|[^A-Za-z0-9_./*{-])($folders)/[A-Za-z0-9_./-]*\.(h|cpp|cu|cuh|sh|py|md|svg|cmake)\b" \
    base virtual_gpu kernels engine models data predict train app tests bench scripts cmake CMakeLists.txt .ci \
    --include='*.h' --include='*.cpp' --include='*.cu' --include='*.cuh' --include='*.sh' --include='*.py' --include='*.cmake' --include='CMakeLists.txt' --include=run |
    sed -E "s/^([^:]*):([0-9]*):[^A-Za-z]?/\1 \2 /" | sort -u | while read -r file line path; do
    case $path in *NAME* | */FILE.* | models/yolo.py) continue ;; esac
    [ -e "$path" ] || echo "$file:$line: $path does not exist"
done | grep . && bad "paths in the comments above"

# ---- the map: a row may be off by 5 % or 150 lines, whichever is more
rows() { sed -n '/<!-- map/,/<!-- end of the map/s/^| `\([a-z_]*\)\/` | \([0-9]*\) |.*/\1 \2/p'; }
said=$(rows <README.md)
[ "$(wc -l <<<"$said")" = "$(scripts/map.sh | grep -c '^| `')" ] || bad "README's map lacks a folder: scripts/map.sh --write"
while read -r folder lines; do
    now=$({ echo '<!-- map'; scripts/map.sh; echo '<!-- end of the map'; } | rows | awk -v f="$folder" '$1 == f { print $2 }')
    off=$((now > lines ? now - lines : lines - now))
    [ $off -le 150 ] || [ $((off * 20)) -le "$now" ] || bad "README's map says $lines lines for $folder/, which has $now: scripts/map.sh --write"
done <<<"$said"

# ---- the code in README, and train/minimal.cpp
sed -n '/^```cpp/,/^```/p' README.md | grep -v '^```' | sed 's/^ *//; /^$/d' | while read -r line; do
    grep -qF -- "$line" train/minimal.cpp || echo "$line"
done | grep . && bad "lines of README's code that are not in train/minimal.cpp"
[ "$(wc -l <train/minimal.cpp)" -le 100 ] || bad "train/minimal.cpp is longer than 100 lines"
grep '#include "train/' train/minimal.cpp | grep -v '/optimizer.h"\|/schedule.h"' && bad "train/minimal.cpp shows the step itself and takes only optimizer and schedule from train/"

for test in $(sed -n 's/^gpu_tests="\(.*\)"/\1/p' scripts/gpu_verify.sh); do
    [ -e "tests/$test.cpp" ] || bad "scripts/gpu_verify.sh names $test, which tests/ does not have"
done

# ---- words: outside of code; in the help of every command
banned='(^|[^e]) is no [a-z]|\b(goes|go|going) on\b|\b[Pp]ictures?\b|\ball the same\b'
for text in README.md $(ls docs/*.md | grep -v moved.md); do
    awk '/^```/ { code = !code; next } !code && !/^    / { gsub(/`[^`]*`/, ""); print FILENAME ":" FNR ": " $0 }' "$text" | grep -E "$banned" && bad "words in $text"
done
for command in $("$binary" -h | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\)  .*/\1/p'); do
    "$binary" "$command" --help | sed '/^Pictures:$/d; s/--[a-z-]*//g; s/[a-z]*_pictures\?//g' | grep -E "$banned" && bad "words in the help of tundra $command"
done
exit $failed
