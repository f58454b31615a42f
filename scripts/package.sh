#!/usr/bin/env bash
# Makes the packages of the last build of this tree, for this system and processor, in a folder:
#
#   tundra_VERSION~SYSTEM_ARCH.deb      for this release of Debian or Ubuntu; libraries are packages it depends on
#   tundra-VERSION-linux-ARCH.tar.xz    runs from any folder, with the libraries it needs (lib/tundra)
#   tundra_cameratrap-VERSION-...whl    the same for pip: no Python in it
#   SHA256SUMS
#
#   scripts/package.sh [FOLDER [options of cmake]]     default: build-packages/, built without the device cuda
#
# The licences of everything inside lie in share/doc/tundra/licenses; PACKAGES there names the packages, whose sources the system's
# archive has (one, libjbig0 of libtiff, is under the GPL). HDF5 (Keras' .h5 files) and libheif (HEIC) are not inside: they bring forty
# libraries, and are taken from the system where it has them. scripts/try_packages.sh installs and tries each package in fresh systems.
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in -*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;; esac
out=${1:-build-packages}
shift || true
for tool in dpkg-deb dpkg-shlibdeps python3 xz; do
    command -v $tool >/dev/null || { echo "package: $tool is missing: apt-get install dpkg-dev python3 xz-utils" >&2; exit 1; }
done
trap 'echo "package: failed in line $LINENO" >&2' ERR
mkdir -p "$out"
out=$(realpath "$out")
version=$(sed -n 's/^project(tundra VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)  # two runs give the same bytes
export SOURCE_DATE_EPOCH

# RPATH and not RUNPATH: it holds for what an opened library needs, too.
scripts/build.sh build-package --target tundra -- -DCMAKE_BUILD_TYPE=Release -DTUNDRA_CUDA=OFF -DCMAKE_INSTALL_PREFIX=/usr \
    '-DCMAKE_INSTALL_RPATH=$ORIGIN/../lib/tundra' -DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags "$@"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
DESTDIR=$stage/deb cmake --install build-package --strip >/dev/null
usr=$stage/deb/usr

package_of() {  # that a file came from; some packages still name /lib, which has become a link
    local file
    file=$(realpath "$1")
    { dpkg -S "$file" 2>/dev/null || dpkg -S "${file#/usr}" 2>/dev/null; } | sed -n '1s/:.*//p'
}
# Not head, whose end would end the one who writes, and by pipefail this script.
file_of() { ldconfig -p | sed -n "s|^\t$1 .*=> ||p" | sed -n 1p; }  # by the name it is loaded by
opened() { sed -nE "s/.*TUNDRA_$1=\\\\*\"([^\"\\\\]*).*/\1/p" build-package/build.ninja | sed -n 1p; }
onednn=$(file_of "$(opened ONEDNN)")

# ---- licences: this program's, of what it is compiled with, and of the libraries beside it
doc=share/doc/tundra
mkdir -p "$usr/$doc"
{
    printf 'Tundra, MIT licence.\n\n'
    cat LICENSE
} >"$usr/$doc/copyright"
licences() {  # folder, package...
    mkdir -p "$1"
    for package in "${@:2}"; do
        [ ! -e "/usr/share/doc/$package/copyright" ] || cp -L "/usr/share/doc/$package/copyright" "$1/$package"
    done
}
licences "$usr/$doc/licenses" libstb-dev nlohmann-json3-dev libcli11-dev libfmt-dev libcpp-httplib-dev

# ---- tar: the libraries that the program and oneDNN need, but for those of glibc, which belong to the system
tree=$stage/tundra-$version-linux-$(uname -m)
cp -r "$usr" "$tree"
rm -f "$tree/lib/tundra/tundra_mpi.so"  # is linked with the MPI of the system it was built on
mkdir -p "$tree/lib/tundra"
libraries=$({ echo "$onednn"; ldd "$tree/bin/tundra" "$onednn" | sed -n 's/.* => \(\/[^ ]*\).*/\1/p'; } |
    grep -vE '/(libc|libm|libdl|libpthread|librt|libresolv|ld-linux[^/]*)\.so' | sort -u)
for library in $libraries; do
    cp -L "$library" "$tree/lib/tundra/"
    package=$(package_of "$library") || true
    [ -n "$package" ] || { echo "package: no package is known for $library: its licence is missing" >&2; exit 1; }
    licences "$tree/$doc/licenses" "$package"
    [ -s "$tree/$doc/licenses/$package" ] || { echo "package: no licence of $package" >&2; exit 1; }
    echo "$(basename "$library"), from $(dpkg-query -W -f '${binary:Package} ${Version}, source ${source:Package}\n' "$package" | sed -n 1p)"
done >"$tree/$doc/licenses/PACKAGES"
mv "$tree/$doc/copyright" "$tree/LICENSE"
glibc=$(objdump -T "$tree/bin/tundra" "$tree"/lib/tundra/*.so* 2>/dev/null | grep -oE 'GLIBC_2\.[0-9]+' | sort -Vu | tail -1 | sed 's/GLIBC_//')
cat >"$tree/README" <<END
Tundra $version for Linux on $(uname -m), glibc $glibc or newer: run bin/tundra, from wherever this folder lies.
bin/tundra doctor tells what this machine can do. Licences: LICENSE, $doc/licenses.
END
tar -C "$stage" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cJf "$out/${tree##*/}.tar.xz" "${tree##*/}"

# ---- deb
mkdir -p "$stage/control/debian" "$stage/deb/DEBIAN"
printf 'Source: tundra\n\nPackage: tundra\nArchitecture: any\n' >"$stage/control/debian/control"
depends=$(cd "$stage/control" && dpkg-shlibdeps -O "$usr/bin/tundra" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
recommends=""
for name in HDF5 HEIF; do
    soname=$(opened $name)
    [ -z "$soname" ] || recommends+="${recommends:+, }$(package_of "$(file_of "$soname")")"
done
system=$(. /etc/os-release && echo "$ID$VERSION_ID")
architecture=$(dpkg --print-architecture)
cat >"$stage/deb/DEBIAN/control" <<END
Package: tundra
Version: $version~$system
Architecture: $architecture
Maintainer: Tundra <tundra@localhost>
Installed-Size: $(du -sk "$usr" | cut -f 1)
Depends: $depends, $(package_of "$onednn")
${recommends:+Recommends: $recommends
}Section: science
Priority: optional
Description: camera-trap images: find animals, name them, train on your own
 Trains ResNet-50 and YOLOv5, runs MegaDetector and other YOLO detectors, and
 turns memory cards into a checked table. One program, no Python.
END
(cd "$stage/deb" && find usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
dpkg-deb --root-owner-group -Zxz --build "$stage/deb" "$out/tundra_$version~${system}_$architecture.deb" >/dev/null

python3 scripts/wheel.py "$tree" "$out" "$version" "manylinux_${glibc/./_}_$(uname -m)"
(cd "$out" && sha256sum ./*.deb ./*.tar.xz ./*.whl >SHA256SUMS)
echo "package: in $out; tar and wheel need glibc $glibc or newer"
