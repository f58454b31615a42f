#!/usr/bin/env bash
# Compiles everything, benchmarks included, for aarch64 with a cross compiler, and runs the tests in an emulator. What only an x86
# processor has, or what relies on its habits (signed char, strong memory order), shows here without a second machine.
#
#   scripts/check_arm64.sh [--build-only | --packages]     build-arm64/; exits with 77 when a tool or a library is missing
set -euo pipefail
cd "$(dirname "$0")/.."
tools="g++-aarch64-linux-gnu qemu-user-static cmake ninja-build pkg-config libcli11-dev nlohmann-json3-dev"
for library in dnnl turbojpeg0 jpeg stb exif zip fmt xxhash hdf5 yaml-cpp tiff webp gif gtest benchmark; do
    tools="$tools lib$library-dev:arm64"
done
tools="$tools zlib1g-dev:arm64"
[ "${1:-}" != --packages ] || { echo "$tools"; exit 0; }
emulator=$(command -v qemu-aarch64-static || command -v qemu-aarch64) && command -v aarch64-linux-gnu-g++ >/dev/null &&
    [ -e /usr/lib/aarch64-linux-gnu/libdnnl.so ] || {
    printf 'check_arm64: skipped: cross compiler, emulator or libraries are missing. As root, on Debian 13:\n\n  %s\n\n' \
        "dpkg --add-architecture arm64 && apt-get update && apt-get install -y --no-install-recommends $tools"
    exit 77
}

export PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig
scripts/build.sh build-arm64 --target all benchmarks -- -DCMAKE_BUILD_TYPE=Release -DTUNDRA_CUDA=OFF \
    -DTUNDRA_WERROR="${TUNDRA_WERROR:-OFF}" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
    -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_CROSSCOMPILING_EMULATOR="$emulator"
[ "${1:-}" != --build-only ] || exit 0
"$emulator" build-arm64/tundra version
# Left out is what starts the program by itself, without the emulator: tests that are scripts (others of them look at sources and
# tools, which no processor changes), stops and streams.
ctest --test-dir build-arm64 -j "$(nproc)" --output-on-failure --timeout 1800 \
    -E "^($(basename -s _test.sh tests/*_test.sh | paste -sd '|')|stops|streams)$"
