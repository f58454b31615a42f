#!/usr/bin/env bash
# Installs and tries each package that scripts/package.sh made, in fresh systems made with debootstrap. Needs root, and an archive of
# Debian or Ubuntu (DEBIAN_MIRROR, UBUNTU_MIRROR); nothing outside of FOLDER is touched.
#
#   scripts/try_packages.sh PACKAGES [--folder FOLDER] [SUITE...]     default: build-systems/, bookworm trixie noble
#
# A .deb is tried where it belongs, tar and wheel everywhere. Each try begins with the bare system: it installs, lets `tundra
# doctor` judge, makes images, trains a classifier, classifies, detects, and removes the package; what it left behind is a failure.
# The tar is moved between two runs; the wheel is installed in an environment and with --user.
set -euo pipefail
cd "$(dirname "$0")/.."
arguments=("$@") folder=build-systems packages=${1:?"$(sed -n '5p' "$0")"}
shift
suites=()
while [ $# -gt 0 ]; do
    case $1 in
        --folder) folder=${2:?--folder needs a name}; shift ;;
        *) suites+=("$1") ;;
    esac
    shift
done
[ ${#suites[@]} -gt 0 ] || suites=(bookworm trixie noble)
[ "$(id -u)" = 0 ] || { echo "try_packages: debootstrap and chroot need root: run it with sudo" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "try_packages: debootstrap is missing: apt-get install debootstrap" >&2; exit 1; }
# In namespaces of its own: mounts and processes end with the script, however it ends.
[ "${TRY_PACKAGES_INSIDE:-}" = 1 ] ||
    TRY_PACKAGES_INSIDE=1 exec unshare --mount --pid --fork --kill-child --mount-proc scripts/try_packages.sh "${arguments[@]}"
mkdir -p "$folder"
folder=$(realpath "$folder") packages=$(realpath "$packages")
(cd "$packages" && sha256sum --quiet -c SHA256SUMS)
debian=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' | sed -n '/security/d; s/^Debian //p' | sed -n 1p)}
ubuntu=${UBUNTU_MIRROR:-http://archive.ubuntu.com/ubuntu}

# What every package must do, on its own images. Prints a hash of what it found.
try='set -e
cd "$(mktemp -d)"
tundra version >version
tundra doctor --json >doctor.json || { tundra doctor; exit 1; }
tundra synth shots --images 120 --size 160x120 -q
tundra train shots --out run --image-size 32 --batch 16 --epochs 1 --threads 2 -q
tundra classify shots/test --model run --out found.csv -q
tundra detect shots/test -o boxes.json -q
tundra inspect run/model.safetensors >/dev/null
sort found.csv | sha256sum | cut -c 1-12'

fresh() {  # SUITE: a bare system in $root, on memory
    local base=$folder/$1
    if [ ! -e "$base/ready" ]; then
        # Names that this debootstrap has not heard of are made as their family is.
        local script=/usr/share/debootstrap/scripts/$1 like=sid mirror=$debian components=main
        case $1 in focal | jammy | noble) like=gutsy mirror=$ubuntu components=main,universe ;; esac
        [ -e "$script" ] || script=${script%/*}/$like
        rm -rf --one-file-system "$base"
        debootstrap --variant=minbase --components=$components "$1" "$base" "$mirror" "$script" >"$folder/$1.debootstrap" 2>&1
        rm -f "$base"/var/cache/apt/archives/*.deb
        touch "$base/ready"
    fi
    root=$folder/try
    mountpoint -q "$root" && umount -R "$root"
    mkdir -p "$root" "$folder/changes"
    mountpoint -q "$folder/changes" && umount "$folder/changes"
    mount -t tmpfs none "$folder/changes"
    mkdir "$folder/changes/upper" "$folder/changes/work"
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$folder/changes/upper,workdir=$folder/changes/work" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mkdir "$root/packages"
    mount --bind "$packages" "$root/packages"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
}
inside() {
    chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive OMP_WAIT_POLICY=passive \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -euc "$1" </dev/null
}
left_behind() {  # files; pip leaves empty folders
    (cd "$root" && find . -xdev -path ./tmp -prune -o -path ./packages -prune -o -name '*tundra*' ! -type d -print)
}

failed=0
row() {  # suite, package, what
    local log=$folder/$1-$2.log hash
    fresh "$1"
    if hash=$(inside "$3" 2>"$log" | tail -1) && [ -n "$hash" ] && [ -z "$(left_behind | tee -a "$log")" ]; then
        printf '| %s | %s | works, results %s |\n' "$1" "$2" "$hash"
    else
        printf '| %s | %s | FAILED: %s |\n' "$1" "$2" "$log"
        failed=1
    fi
}
for suite in "${suites[@]}"; do
    release=$(case $suite in bookworm) echo debian12 ;; trixie) echo debian13 ;; jammy) echo ubuntu22.04 ;; noble) echo ubuntu24.04 ;; esac)
    for deb in "$packages"/*~"${release:-none}"_*.deb; do
        [ ! -e "$deb" ] || row "$suite" deb "apt-get -qq update >&2; apt-get -qq install -y --no-install-recommends /packages/${deb##*/} >&2
            $try
            apt-get -qq purge -y tundra >&2"
    done
    for tar in "$packages"/*.tar.xz; do
        [ ! -e "$tar" ] || row "$suite" tar "apt-get -qq update >&2; apt-get -qq install -y --no-install-recommends xz-utils >&2
            mkdir '/opt/a folder'; tar -C '/opt/a folder' -xf /packages/${tar##*/}
            '/opt/a folder'/*/bin/tundra version >&2
            mv '/opt/a folder'/* /srv/moved; rmdir '/opt/a folder'
            export PATH=/srv/moved/bin:\$PATH
            $try
            rm -r /srv/moved"
    done
    for wheel in "$packages"/*.whl; do
        [ ! -e "$wheel" ] || row "$suite" wheel "apt-get -qq update >&2; apt-get -qq install -y --no-install-recommends python3-venv python3-pip >&2
            python3 -m pip install -q --no-index --user --break-system-packages /packages/${wheel##*/} >&2
            /root/.local/bin/tundra detect -h >/dev/null
            python3 -m pip uninstall -q -y --break-system-packages tundra-cameratrap >&2
            python3 -m venv /opt/env; /opt/env/bin/pip install -q --no-index /packages/${wheel##*/} >&2
            export PATH=/opt/env/bin:\$PATH
            $try
            pip uninstall -q -y tundra-cameratrap >&2"
    done
done
exit $failed
