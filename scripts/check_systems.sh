#!/usr/bin/env bash
# Builds and tests the last commit on other systems, each in a folder of its own made with debootstrap, and prints a table
# (docs/systems.md). Needs root, an archive of Debian or Ubuntu, and 10 GB. Nothing outside FOLDER is touched.
#
#   scripts/check_systems.sh [--folder FOLDER] [--build-only] [ROW...]      all rows, or the ones named
#   scripts/check_systems.sh --list                                         names of the rows
#
# FOLDER (build-systems/) keeps the systems, the builds and a log per row: run it again after a stop. A row that was
# finished for this commit is not run again; delete FOLDER/results/ROW to repeat it. --build-only builds everything, tests
# and benchmarks too, and runs nothing.
# DEBIAN_MIRROR and UBUNTU_MIRROR name archives; without them the ones that apt uses on this machine are taken, or Ubuntu's own.
# Of Ubuntu's archive the signature is checked only where its keyring is installed: debootstrap warns else.
set -euo pipefail
cd "$(dirname "$0")/.."

# system; C++ compiler ("-": what setup.sh installs); packages besides setup.sh's; CMake from PyPI; oneDNN from PyPI
rows() {
    cat <<END
debian13           trixie    -           -                              -       -
debian13-g++13     trixie    g++-13      g++-13                         -       -
debian13-g++12     trixie    g++-12      g++-12                         -       -
debian13-clang19   trixie    clang++-19  clang-19,libomp-19-dev         -       -
debian13-cmake4    trixie    -           -                              4.4.*   -
debian13-like2404  trixie    g++-13      g++-13                         3.28.*  2023.1.0
debian13-arm64     trixie-arm64 arm64    -                              -       -
debian12           bookworm  -           -                              -       -
debian12-clang14   bookworm  clang++-14  clang-14,libomp-14-dev         -       -
debian12-clang16   bookworm  clang++-16  clang-16,libomp-16-dev         -       -
debian12-clang19   bookworm  clang++-19  clang-19,libomp-19-dev         -       -
debian12-onednn3   bookworm  -           -                              -       2023.2.0
ubuntu2404         noble     -           -                              -       -
ubuntu2404-g++14   noble     g++-14      g++-14                         -       -
ubuntu2404-clang18 noble     clang++-18  clang-18,libomp-18-dev         -       -
END
}

arguments=("$@") folder=build-systems mode=all
wanted=()
while [ $# -gt 0 ]; do
    case $1 in
        --folder) folder=${2:?--folder needs a name}; shift ;;
        --build-only) mode=build ;;
        --list) rows | cut -d ' ' -f 1; exit 0 ;;
        -*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
        *) rows | grep -q "^$1 " || { echo "check_systems: no row $1; --list names them" >&2; exit 2; }; wanted+=("$1") ;;
    esac
    shift
done
[ "$(id -u)" = 0 ] || { echo "check_systems: debootstrap and chroot need root: run it with sudo" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "check_systems: debootstrap is missing: apt-get install debootstrap" >&2; exit 1; }
# In namespaces of its own: mounts and processes end with the script, however it ends.
[ "${CHECK_SYSTEMS_INSIDE:-}" = 1 ] ||
    CHECK_SYSTEMS_INSIDE=1 exec unshare --mount --pid --fork --kill-child --mount-proc scripts/check_systems.sh "${arguments[@]}"
trap 'exit 130' INT TERM  # the first process of a namespace would ignore them
mkdir -p "$folder/results"
folder=$(realpath "$folder")
commit=$(git rev-parse --short=12 HEAD)

mirror() {  # Debian or Ubuntu
    local given=${1^^}_MIRROR
    [ -n "${!given:-}" ] && { echo "${!given}"; return; }
    { apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' | sed -n "/security/d; s/^$1 //p"
        echo "Ubuntu http://archive.ubuntu.com/ubuntu" | sed -n "s/^$1 //p"; } | sed -n 1p
}

make_root() {  # SUITE or SUITE-NAME -> a folder of this name, or what is in the way on standard output
    local suite=${1%%-*} root=$folder/$1 origin=Debian address
    [ -e "$root/ready" ] && return
    [ "$suite" = noble ] && origin=Ubuntu
    address=$(mirror $origin)
    [ -n "$address" ] || { echo "NOT no archive of $origin is known here: set ${origin^^}_MIRROR"; return 1; }
    # Names that this debootstrap has not heard of are made as their family is.
    local script=/usr/share/debootstrap/scripts/$suite
    [ -e "$script" ] || case $origin in Debian) script=${script%/*}/sid ;; Ubuntu) script=${script%/*}/gutsy ;; esac
    rm -rf --one-file-system "$root"
    debootstrap --variant=minbase --include=ca-certificates,git --components="$([ $origin = Debian ] && echo main || echo main,universe)" \
        "$suite" "$root" "$address" "$script" >"$folder/results/$1.debootstrap" 2>&1 ||
        { echo "NOT debootstrap failed: $folder/results/$1.debootstrap"; return 1; }
    touch "$root/ready"
}

# A command inside a system: with /proc, /dev, a compiler cache for all systems, and nothing of this machine's environment.
inside() {  # system, VARIABLE=value..., command
    local root=$folder/$1
    mkdir -p "$folder/ccache" "$root/ccache" "$root/src"
    mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
    mountpoint -q "$root/dev" || mount --rbind /dev "$root/dev"
    mountpoint -q "$root/sys" || mount --rbind /sys "$root/sys"
    mountpoint -q "$root/ccache" || mount --bind "$folder/ccache" "$root/ccache"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        CCACHE_DIR=/ccache CCACHE_NOHASHDIR=1 "${@:2}" </dev/null
}

wheels() {  # folder, package==version...: what wheels from PyPI hold (pip install --target leaves out libraries)
    [ -e "$1/ready" ] && return
    python3 -m pip download -q --no-deps --only-binary :all: -d "$1" "${@:2}" || return
    for wheel in "$1"/*.whl; do python3 -m zipfile -e "$wheel" "$1"; done
    chmod -f +x "$1"/cmake/data/bin/* || true
    touch "$1/ready"
}

run_row() {  # to the log; lines that begin with RESULT or NOT are for the table
    local name=$1 suite=$2 cxx=$3 packages=$4 cmake=$5 onednn=$6 root=$folder/$2 variables=("CCACHE_BASEDIR=/src/$1") steps
    make_root "$suite" || return 0
    [ -d "$root/src/$name" ] || git clone -q --no-hardlinks . "$root/src/$name"
    git -C "$root/src/$name" fetch -q "$PWD" HEAD
    git -C "$root/src/$name" checkout -q --detach "$commit"
    if [ "$cxx" = arm64 ]; then
        packages=$(scripts/check_arm64.sh --packages)
        inside "$suite" dpkg --add-architecture arm64
    fi
    if [ "$packages" != - ]; then
        inside "$suite" DEBIAN_FRONTEND=noninteractive bash -c "apt-get -qq update &&
            apt-get -qq install -y --no-install-recommends ${packages//,/ }" ||
            { echo "NOT its packages are not to be had: $packages"; return 0; }
    fi
    if [ "$cmake" != - ]; then
        wheels "$root/opt/cmake-$cmake" "cmake==$cmake" || { echo "NOT no CMake $cmake on PyPI"; return 0; }
        variables+=("PATH=/opt/cmake-$cmake/cmake/data/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    fi
    if [ "$onednn" != - ]; then
        wheels "$root/opt/onednn-$onednn" "onednn-cpu-gomp==$onednn" "onednn-devel-cpu-gomp==$onednn" ||
            { echo "NOT no oneDNN $onednn on PyPI"; return 0; }
        variables+=("CMAKE_PREFIX_PATH=$(cd "$root" && printf '/%s:' "opt/onednn-$onednn"/*.data/data)")
    fi
    steps="apt-get -qq install -y --no-install-recommends libbenchmark-dev >/dev/null
        step build scripts/build.sh build --target all benchmarks -- -DCMAKE_BUILD_TYPE=Release"
    if [ "$cxx" = arm64 ]; then
        steps="step build scripts/check_arm64.sh --build-only"
        [ $mode = build ] || steps="$steps; step tests scripts/check_arm64.sh"
    else
        [ "$cxx" = - ] || variables+=("CXX=$cxx")
        [ $mode = build ] && steps="scripts/setup.sh test; $steps" || steps="step demo scripts/demo.sh; step tests scripts/test.sh; $steps"
    fi
    inside "$suite" "${variables[@]}" bash -c "
        cd /src/$name
        step() { local start=\$SECONDS; \"\${@:2}\" && echo \"RESULT \$1 passed \$((SECONDS - start))\" || echo \"RESULT \$1 failed \$((SECONDS - start))\"; }
        $steps
        echo \"RESULT cmake \$(cmake --version | sed -n 's/^cmake version //p')\"
        echo \"RESULT system \$(. /etc/os-release; echo \$NAME \$VERSION_ID)\"
        [ ! -x build/tundra ] || build/tundra version"
}

row_of_table() {  # log, name, compiler
    local log=$1
    last() { sed -n "s/$1/\\1/p" "$log" | tail -1; }
    local not build tests demo
    not=$(last '^NOT \(.*\)'; last '.*\(Clang [0-9.]* is too old.*\)')
    build=$(last '^RESULT build \(.*\)')
    tests=$(last '^RESULT tests \(.*\)')
    demo=$(last '^RESULT demo \(.*\)')
    [ -z "$tests" ] || tests=$(last '.*tests passed, \([0-9]* tests failed out of [0-9]*\).*' | grep . || echo "not built")
    [ "${demo%% *}" = passed ] && demo="$(last '^Accuracy on held-out images: *\(.*%\).*'), mAP50 $(last '^Detection, mAP50: *\([0-9.]*\).*')"
    printf '| %s | %s | %s | %s | %s | %s | %s |\n' "$(last '^RESULT system \(.*\)' | grep . || echo "$2")" \
        "$(last '^compiler *\(.*\)' | grep . || echo "$3")" "$(last '^RESULT cmake \(.*\)')" \
        "$(last '^oneDNN .*loaded \(.*\)')" "${not:-$build}" "${tests:--}" "${demo:--}"
}

printf '| system | compiler | CMake | oneDNN | build | tests | demo |\n| --- | --- | --- | --- | --- | --- | --- |\n'
while read -r name suite cxx packages cmake onednn; do
    [ ${#wanted[@]} = 0 ] || [[ " ${wanted[*]} " = *" $name "* ]] || continue
    log=$folder/results/$name.log
    if [ "$(cat "$folder/results/$name" 2>/dev/null)" != "$commit $mode" ]; then
        run_row "$name" "$suite" "$cxx" "$packages" "$cmake" "$onednn" >"$log" 2>&1 || echo "NOT stopped: see $log" >>"$log"
        echo "$commit $mode" >"$folder/results/$name"
    fi
    row_of_table "$log" "$name" "$cxx"
done < <(rows)
