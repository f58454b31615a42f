#!/usr/bin/env bash
# No program that is built or installed looks for libraries in the current folder, in a relative one, or where anybody may
# write: tundra is started inside folders of strangers' files.  usage: search_path_test.sh BINARY SOURCE_DIR   (1 s)
set -u
binary=$1
command -v readelf >/dev/null || { echo "skipped: readelf (binutils) is not installed"; exit 77; }
build=$(dirname "$binary")
prefix=$(mktemp -d) || exit 2
trap 'rm -rf "$prefix"' EXIT
cmake --install "$build" --prefix "$prefix" >"$prefix/log" 2>&1 || { cat "$prefix/log"; exit 1; }
[ -x "$prefix/bin/tundra" ] || { echo "cmake --install made no bin/tundra"; exit 1; }

failed=0 programs=0
while IFS= read -r program; do
    programs=$((programs + 1))
    path=$(readelf -d "$program" 2>/dev/null | sed -n 's/.*(\(RUNPATH\|RPATH\)).*\[\(.*\)\]$/\2/p')
    [ -n "$path" ] || continue
    while IFS= read -r -d : element; do
        case $element in
            '$ORIGIN' | '$ORIGIN/'* | /*) ;;
            *) echo "$program: '$element' in the search path for libraries is not an absolute folder"; failed=1; continue ;;
        esac
        if [ -d "$element" ] && [ -n "$(find "$element" -maxdepth 0 -perm -o+w)" ]; then
            echo "$program: anybody may write to $element, where it looks for libraries"
            failed=1
        fi
    done <<<"$path:"
done < <(find "$build" "$prefix" -name CMakeFiles -prune -o -type f -perm -u+x -print | while IFS= read -r file; do
    [ "$(head -c 4 "$file" | tr -d '\0')" = $'\x7fELF' ] && printf '%s\n' "$file"
done)
[ "$programs" -gt 1 ] || { echo "no program was found in $build"; exit 1; }
echo "$programs programs looked at"
exit $failed
