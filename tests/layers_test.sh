#!/usr/bin/env bash
# The folders form a strict order: an include never points to the right.  usage: layers_test.sh BINARY SOURCE_DIR
set -u
cd "$2" || exit 2
failed=0
forbid() {  # folder, the folders that it must not include
    for right in $2; do
        hits=$(grep -rnE "#include \"$right/" "$1" --include='*.h' --include='*.cpp' --include='*.cu' --include='*.cuh')
        [ -z "$hits" ] || { echo "$1 must not include $right:"; echo "$hits"; failed=1; }
    done
}
forbid kernels "engine models data train app bench tests"
forbid engine "models data train app bench tests"
forbid models "data train app bench tests"
forbid data "models train app bench tests"
forbid train "app bench tests"
forbid app "bench tests"
hits=$(grep -rnE '#include "(kernels/[a-z_]+[./]|(engine|models|data|train|app)/)' kernels/simt --include='*.h' --include='*.cpp' | grep -v '"kernels/simt/')
[ -z "$hits" ] || { echo "kernels/simt stands alone:"; echo "$hits"; failed=1; }

lines=$(cat $(find kernels engine models train -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh') | wc -l)
echo "kernels, engine, models and train together: $lines lines"
find kernels engine models data train app \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) -exec wc -l {} + |
    awk '$2 != "total" && $1 > 400 {print "long file: " $2 " has " $1 " lines"}'
exit $failed
