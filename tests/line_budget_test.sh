#!/usr/bin/env bash
# No folder is larger than tests/line_budget.txt allows, and no source file longer than 400 lines. Below 1 s.
# usage: line_budget_test.sh BINARY SOURCE_DIR
set -u
cd "$2" || exit 2
failed=0
sources() { find "$@" -type f \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \); }
lines() {  # of a folder; models/files has its own row
    if [ "$1" = models ]; then sources models | grep -v '^models/files/'; else sources "$1"; fi | xargs cat | wc -l
}
sum=0
while read -r folder budget mark; do
    case $folder in "#"* | "" | over) continue ;; engine) [ "$budget" != in ] || { folder="engine in all"; budget=${mark##* }; mark=; } ;; esac
    if [ "$folder" = "engine in all" ]; then count=$sum; else count=$(lines "$folder"); fi
    [ "$mark" = "*" ] && sum=$((sum + count))
    printf '%-16s %6d of %d\n' "$folder" "$count" "$budget"
    [ "$count" -le "$budget" ] || { echo "FAILED: $folder has $((count - budget)) lines more than its budget in tests/line_budget.txt"; failed=1; }
done <tests/line_budget.txt

excused=$(awk '$1 == "over" { print $2 }' tests/line_budget.txt)
long=$(sources base virtual_gpu kernels engine models data predict train app bench tests | while read -r file; do
    [ "$(wc -l <"$file")" -le 400 ] || echo "$file"; done | sort)
extra=$(comm -23 <(echo "$long") <(sort <<<"$excused") | grep .) && { echo "FAILED: more than 400 lines:"; echo "$extra"; failed=1; }
stale=$(comm -13 <(echo "$long") <(sort <<<"$excused") | grep .) && { echo "FAILED: no longer above 400 lines, remove from tests/line_budget.txt:"; echo "$stale"; failed=1; }
exit $failed
