#!/usr/bin/env bash
# No program that is built or installed looks for libraries in the current folder, in a relative one, or where anybody may
# write: tundra is started inside folders of strangers' files. The paths are read from every program; then tundra runs in a
# folder of files that are called like the libraries it needs and like HDF5, which it opens by name.
# usage: search_path_test.sh BINARY SOURCE_DIR   (3 s)
set -u
binary=$1 source=$(realpath "$2")
unset LD_LIBRARY_PATH
command -v readelf >/dev/null || { echo "skipped: readelf (binutils) is not installed"; exit 77; }
build=$(dirname "$binary")
prefix=$(mktemp -d) || exit 2
trap 'rm -rf "$prefix"' EXIT
cmake --install "$build" --prefix "$prefix" >"$prefix/log" 2>&1 || { cat "$prefix/log"; exit 1; }
[ -x "$prefix/bin/tundra" ] || { echo "cmake --install made no bin/tundra"; exit 1; }

failed=0 programs=0
while IFS= read -r program; do
    programs=$((programs + 1))
    dynamic=$(readelf -d "$program" 2>/dev/null)
    # A library without a name of its own is needed by the path that the linker was given.
    sed -n 's/.*(NEEDED).*\[\([^/].*\/.*\)\]$/\1/p' <<<"$dynamic" | sed "s|^|$program: looks in the current folder for |" | grep . && failed=1
    path=$(sed -n 's/.*(\(RUNPATH\|RPATH\)).*\[\(.*\)\]$/\2/p' <<<"$dynamic")
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

"$binary" version >/dev/null 2>&1 || { echo "not started: built for another machine"; exit $failed; }
hdf5=$(grep -ao 'libhdf5[a-z_]*\.so[.0-9]*' "$binary" | head -1)
mkdir "$prefix/strange"
cd "$prefix/strange" || exit 2
for library in $(ldd "$binary" | sed -n 's/^\s*\(lib[^ ]*\) => .*/\1/p') $hdf5; do echo "no library" >"$library"; done
keras=$source/tests/golden/keras/resnet50_keras_names_new.h5
for program in "$binary" "$prefix/bin/tundra"; do
    "$program" version >../log 2>&1 || { echo "$program does not start there:"; cat ../log; failed=1; }
    if [ -n "$hdf5" ]; then "$program" inspect "$keras" >../log 2>&1 || { echo "$program does not find HDF5 there:"; cat ../log; failed=1; }; fi
done
# That those files do stop a program which looks there:
LD_LIBRARY_PATH=: "$binary" version >/dev/null 2>&1 && { echo "the strange files stop nothing, so this test shows nothing"; failed=1; }
rm -f ./*
if [ -n "$hdf5" ]; then
    echo "no library" >"$hdf5"
    LD_LIBRARY_PATH=: "$binary" inspect "$keras" >/dev/null 2>&1 && { echo "a strange $hdf5 stops nothing"; failed=1; }
fi
exit $failed
