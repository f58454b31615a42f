#!/usr/bin/env bash
# The folders form a strict order: an include never points to the right.  usage: layers_test.sh BINARY SOURCE_DIR
set -u
cd "$2" || exit 2
failed=0
sources=(--include='*.h' --include='*.cpp' --include='*.cu' --include='*.cuh')
allow() {  # folder, the folders that it may include besides itself
    local hits
    hits=$(grep -rnE '#include "[a-z_]+/' "$1" "${sources[@]}" | grep -vE "#include \"($1${2:+|${2// /|}})/")
    [ -z "$hits" ] || { echo "$1 may include only ${2:-itself}:"; echo "$hits"; failed=1; }
}
allow base ""
allow virtual_gpu ""
allow kernels "base virtual_gpu"
allow engine "base virtual_gpu kernels"
allow models "base kernels engine"
allow data "base"
allow predict "base kernels engine models data"
allow train "base kernels engine models data predict"
allow app "base kernels engine models data predict train"
exit $failed
